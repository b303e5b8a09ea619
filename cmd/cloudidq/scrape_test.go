package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"cloudidq/internal/porttest"
	"cloudidq/internal/wechat/wechattest"
)

// selector is a series with labels, as used in the expression of an alert or a panel.
type selector struct{ name, labels string }

var (
	selected = regexp.MustCompile(`\b((?:cloudidq|asynq|process|go)_[a-z_]+[a-z])(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`)
	template = regexp.MustCompile(`label_values\([^)]*\)`)
)

// expressions returns all expressions of the alerts and the dashboard.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(deployed(t, "prometheus/alerts.yaml"), &rules); err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			all["alert "+r.Alert] = r.Expr
		}
	}
	alerts := len(all)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text := deployed(t, "grafana/cloudidq.json")
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			all["panel "+p.Title+": "+target.Expr] = target.Expr
		}
	}
	if alerts < 10 || len(all)-alerts < 20 {
		t.Fatalf("%d alerts and %d expressions of panels were found", alerts, len(all)-alerts)
	}
	all["variable"] = template.FindString(string(text))
	return all
}

func deployed(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile("../../deploy/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// After a run with various outcomes, a process exports each series that an alert or a panel
// uses, with its labels.
func TestScrape_HasSeriesOfAlertsAndPanels(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 43, Faults: wechattest.Faults{"busy": 0.2, "foreign": 0.1, "expired": 0.1}})
	r := newReceiver(t, nil)
	r.listen()
	s.appSettings = ", webhook: orders, rate_per_minute: 60000"
	s.configure(t, r.settings(""))
	ops, api := porttest.Reserve(t), porttest.Reserve(t)
	s.env = append(s.env, "CLOUDIDQ_OPS_LISTEN="+ops, "CLOUDIDQ_API_LISTEN="+api)
	s.start(t, "serve", "--config", s.config)
	waitFor(t, "serve to be ready", func() bool { status, _ := fetch(t, ops, "/readyz"); return status == http.StatusOK })
	twin := s.twin(t)
	taps := s.enqueueMany(t, twin, 300, 100)
	waitFor(t, "all results to be delivered", func() bool { return r.arrived() == len(taps) })
	s.post(t, "/sim/faults", `{"appid":"`+appA+`","faults":{"unauthorized":1}}`, nil)
	s.enqueueMore(t, twin, 1, 500)
	if status, _ := fetch(t, api, "/v1/status"); status != http.StatusOK {
		t.Errorf("/v1/status = %d", status)
	}

	used := expressions(t)
	var text string
	var lacks []string
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(time.Second) { // the quotas are requested after a minute
		_, text = fetch(t, ops, "/metrics")
		if lacks = missingSeries(t, text, used); len(lacks) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, lack := range lacks {
		t.Error(lack)
	}
	checkMetricsWithPromtool(t, text)
}

// missingSeries returns the series of the expressions that a scrape lacks.
func missingSeries(t *testing.T, text string, used map[string]string) []string {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return []string{err.Error()}
	}
	var lacks []string
	for who, expr := range used {
		for _, found := range selected.FindAllStringSubmatch(expr, -1) {
			if lack := (selector{found[1], found[2]}).missingIn(families); lack != "" {
				lacks = append(lacks, who+" uses "+found[0]+": "+lack)
			}
		}
	}
	slices.Sort(lacks)
	return lacks
}

// perTarget lists the labels that Prometheus adds to every scraped series.
var perTarget = []string{"job", "instance"}

func (s selector) missingIn(families map[string]*dto.MetricFamily) string {
	base := s.name
	if families[base] == nil {
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, part)
		}
	}
	family := families[base]
	if family == nil || len(family.GetMetric()) == 0 {
		return "the series does not exist"
	}
	have := perTarget
	for _, pair := range family.GetMetric()[0].GetLabel() {
		have = append(slices.Clone(have), pair.GetName())
	}
	for _, m := range matcher.FindAllStringSubmatch(s.labels, -1) {
		if !slices.Contains(have, m[1]) {
			return "the series has no label " + m[1]
		}
	}
	return ""
}

// checkMetricsWithPromtool checks a scrape with Prometheus's own tool, if it is installed.
func checkMetricsWithPromtool(t *testing.T, text string) {
	t.Helper()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed, so it does not check the scrape")
		return
	}
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(text)
	var said bytes.Buffer
	check.Stdout, check.Stderr = &said, &said
	err = check.Run()
	for line := range strings.Lines(said.String()) {
		if !strings.HasPrefix(line, "asynq_") && !strings.HasPrefix(line, "go_") { // cloudidq does not choose their names
			t.Errorf("promtool check metrics (%v): %s", err, line)
		}
	}
}

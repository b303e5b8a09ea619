package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cloudidq/internal/wechat/wechattest"
)

// newSim returns the command sim.
func newSim(s streams) *cobra.Command {
	var (
		listen     string
		faults     string
		components []string
		cfg        wechattest.Config
	)
	cmd := &cobra.Command{
		Use:   "sim [flags]",
		Short: "Run a WeChat that misbehaves on request",
		Long: "sim answers POST /wxa/getopendata as WeChat does, and all the endpoints that give tokens for it, with faults by\n" +
			"name and probability. It also plays the front end: GET /sim/cloudids hands out cloudIDs, GET /sim/truth says what\n" +
			"must become of one, GET /sim/stats what the simulator has seen. POST /sim/faults changes the faults of one app,\n" +
			"POST /sim/push tells a third-party platform of tickets and authorizations.\n\n" +
			"A component C has the secret component-secret-C, the token verify-C, and as its key the SHA-256 of aes-C in\n" +
			"Base64, 43 characters without padding.\n\n" + faultsHelp(),
		Example: "  cloudidq sim --latency 50ms --faults busy=0.1,missing=0.02\n" +
			"  curl 'http://127.0.0.1:9900/sim/cloudids?appid=wx0000000000000001&n=3'\n" +
			"  curl -d '{\"appid\":\"wx0000000000000001\",\"faults\":{\"quota\":1},\"for\":\"5m\"}' http://127.0.0.1:9900/sim/faults",
		Args: takes(cobra.NoArgs),
	}
	flags := cmd.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:9900", "`address` to listen on")
	flags.DurationVar(&cfg.Latency, "latency", 0, "time every answer takes")
	flags.StringVar(&faults, "faults", "", "faults, as `NAME=P,...` with P from 0 to 1")
	flags.IntVar(&cfg.Users, "users", wechattest.DefaultUsers, "users that GET /sim/cloudids plays")
	flags.Uint64Var(&cfg.Seed, "seed", 1, "decides users, cloudIDs, data and faults; simulators of one seed agree")
	flags.StringVar(&cfg.Secret, "secret", "", "AppSecret that the token endpoints demand (default: any)")
	flags.DurationVar(&cfg.TokenTTL, "token-ttl", wechattest.DefaultTokenTTL, "life of an access token")
	flags.StringVar(&cfg.SidecarAppID, "sidecar", "", "be the side-car of cloud hosting for this `appid`: take calls without a token")
	flags.DurationVar(&cfg.SidecarAfter, "sidecar-after", 0, "how long the side-car is still starting")
	flags.StringArrayVar(&components, "component", nil, "`appid` of a third-party platform; may be repeated")
	flags.Int64Var(&cfg.DailyLimit, "daily-limit", 0, "requests of one app before 45009 (default: no limit)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkSim(&cfg, listen, faults); err != nil {
			return err
		}
		for _, id := range components {
			cfg.Components = append(cfg.Components, simComponent(id))
		}
		sim, err := wechattest.New(cfg)
		if err != nil {
			return usageError{err}
		}
		return serveSim(cmd.Context(), s, sim, listen)
	}
	return cmd
}

// checkSim returns an error with every problem of the flags, by their names.
func checkSim(cfg *wechattest.Config, listen, faults string) error {
	var wrong []error
	if _, port, err := net.SplitHostPort(listen); err != nil || !isPort(port) {
		wrong = append(wrong, errors.New("--listen must be host:port, such as 127.0.0.1:9900"))
	}
	var err error
	if cfg.Faults, err = wechattest.ParseFaults(faults); err != nil {
		wrong = append(wrong, fmt.Errorf("--faults: %w", err))
	}
	for _, flag := range []struct {
		name  string
		wrong bool
	}{
		{"users", cfg.Users < 0}, {"latency", cfg.Latency < 0}, {"token-ttl", cfg.TokenTTL < 0},
		{"sidecar-after", cfg.SidecarAfter < 0}, {"daily-limit", cfg.DailyLimit < 0},
	} {
		if flag.wrong {
			wrong = append(wrong, fmt.Errorf("--%s is negative", flag.name))
		}
	}
	if len(wrong) > 0 {
		return usageError{errors.Join(wrong...)}
	}
	return nil
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// simComponent returns a third-party platform whose secrets are derived from its appid, as
// --help describes.
func simComponent(appID string) wechattest.Component {
	key := sha256.Sum256([]byte("aes-" + appID))
	return wechattest.Component{
		AppID: appID, Secret: "component-secret-" + appID, VerifyToken: "verify-" + appID,
		AESKey: base64.RawStdEncoding.EncodeToString(key[:]),
	}
}

// serveSim serves the simulator until ctx ends, and prints its totals.
func serveSim(ctx context.Context, s streams, sim *wechattest.Simulator, listen string) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "WeChat simulator on http://%s (set wechat.base_url to it)\n", ln.Addr())
	begun := time.Now()
	err = sim.Serve(ctx, ln)
	stats := sim.Stats()
	fmt.Fprintf(s.err, "stopped after %s: %d requests with %d cloudIDs\n",
		time.Since(begun).Round(time.Second), stats.Requests, stats.CloudIDs)
	return err
}

// faultsHelp returns the list of faults for --help.
func faultsHelp() string {
	var b strings.Builder
	b.WriteString("Faults (those of a request or an item are over when asked again):\n")
	for _, f := range wechattest.FaultNames() {
		fmt.Fprintf(&b, "  %-12s %-8s %s\n", f.Name, f.Per, f.Help)
	}
	return strings.TrimRight(b.String(), "\n")
}

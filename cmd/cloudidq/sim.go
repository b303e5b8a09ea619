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
		Short: "Run a WeChat API simulator with configurable faults",
		Long: "sim simulates POST /wxa/getopendata and all token endpoints of WeChat. Faults have\n" +
			"a name and a probability. sim also simulates the front end: GET /sim/cloudids returns new\n" +
			"cloudIDs, GET /sim/truth returns the expected result of a cloudID, and GET /sim/stats\n" +
			"returns what the simulator has received. POST /sim/faults changes the faults of an app.\n" +
			"POST /sim/push sends tickets and authorizations to a third-party platform.\n\n" +
			"A component C has the secret component-secret-C and the token verify-C. Its AES key is\n" +
			"the SHA-256 of aes-C in Base64, 43 characters without padding.\n\n" + faultsHelp(),
		Example: "  cloudidq sim --latency 50ms --faults busy=0.1,missing=0.02\n" +
			"  curl 'http://127.0.0.1:9900/sim/cloudids?appid=wx0000000000000001&n=3'\n" +
			"  curl -d '{\"appid\":\"wx0000000000000001\",\"faults\":{\"quota\":1},\"for\":\"5m\"}' " +
			"http://127.0.0.1:9900/sim/faults",
		Args: takes(cobra.NoArgs),
	}
	flags := cmd.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:9900", "`address` to listen on")
	flags.DurationVar(&cfg.Latency, "latency", 0, "latency of every answer")
	flags.StringVar(&faults, "faults", "", "faults, as `NAME=P,...` with P from 0 to 1")
	flags.IntVar(&cfg.Users, "users", wechattest.DefaultUsers,
		"number of users of GET /sim/cloudids")
	flags.Uint64Var(&cfg.Seed, "seed", 1,
		"seed of users, cloudIDs, data and faults; simulators with the same seed behave alike")
	flags.StringVar(&cfg.Secret, "secret", "",
		"AppSecret that the token endpoints require (default: any)")
	flags.DurationVar(&cfg.TokenTTL, "token-ttl", wechattest.DefaultTokenTTL,
		"lifetime of an access token")
	flags.StringVar(&cfg.SidecarAppID, "sidecar", "",
		"simulate the sidecar of cloud hosting for this `appid`, which accepts calls without a token")
	flags.DurationVar(&cfg.SidecarAfter, "sidecar-after", 0, "time until the sidecar is available")
	flags.StringArrayVar(&components, "component", nil, "`appid` of a third-party platform; may be repeated")
	flags.Int64Var(&cfg.DailyLimit, "daily-limit", 0,
		"requests of one app per day before error 45009 (default: no limit)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		// Report all invalid flags at once, before anything starts.
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

// checkSim returns an error that lists every invalid flag.
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
			wrong = append(wrong, fmt.Errorf("--%s must not be negative", flag.name))
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

// serveSim serves the simulator until ctx is canceled, and prints its totals.
func serveSim(ctx context.Context, s streams, sim *wechattest.Simulator, listen string) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "WeChat simulator on http://%s (set wechat.base_url to it)\n", ln.Addr())
	// Serve until the context is canceled, then print what was served.
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
	b.WriteString("Faults (a fault per request or item does not recur when the request is repeated):\n")
	for _, f := range wechattest.FaultNames() {
		fmt.Fprintf(&b, "  %-12s %-8s %s\n", f.Name, f.Per, f.Help)
	}
	return strings.TrimRight(b.String(), "\n")
}

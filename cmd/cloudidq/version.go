package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set by those who build (-ldflags "-X main.version=… -X main.revision=…"). The revision is for builds outside of a
// checkout, such as an image's; elsewhere the Go command knows it.
var (
	version  = "dev"
	revision = ""
)

func newVersion(s streams) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and Go version",
		Example: "  cloudidq version",
		Args:    takes(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(s.out, "cloudidq %s (commit %s, %s)\n", version, commit(), runtime.Version())
			return err
		},
	}
}

func commit() string {
	if revision != "" {
		return revision
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	hash, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			hash = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+"
		}
	}
	return hash + dirty
}

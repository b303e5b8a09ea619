package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set at build time (-ldflags "-X main.version=… -X main.revision=…"). revision is for builds
// outside of a checkout, such as an image's. In a checkout the Go command records the revision.
var (
	version  = "dev"
	revision = ""
)

// newVersion returns the command version.
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

// commit returns the abbreviated commit of the build, with "+" if the checkout was modified.
func commit() string {
	if revision != "" {
		return revision
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	// The Go command has stored the state of the checkout.
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

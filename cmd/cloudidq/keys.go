package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cloudidq/internal/seal"
	"cloudidq/internal/secret"
)

// maxKeysetBytes is the size limit that config has for a secret's file. It fits about 250 keys.
const maxKeysetBytes = 64 << 10

// newKeys returns the command group keys.
func newKeys(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Create, rotate and prune the keyset that seals stored results",
		Long: "keys creates and changes the keyset of store.keyset. The results can only be read with\n" +
			"the keyset. Each command prints a keyset as one line of JSON to stdout.\n\n" +
			"Rotate the keyset once a year, and whenever it may have leaked:\n" +
			"  1. Run cloudidq keys rotate. The new keyset seals with a new key and can still read\n" +
			"     what the old keys sealed.\n" +
			"  2. Give the new keyset to all processes and restart everything. Until then, processes\n" +
			"     with the old keyset cannot read what is sealed with the new key.\n" +
			"  3. Wait for store.result_ttl, so that all results sealed with the old keys expire.\n" +
			"  4. Run cloudidq keys prune and restart everything again. Then destroy all copies of\n" +
			"     the old keyset. After that, not even a backup of those results can be read.\n\n" +
			"Do not replace a keyset with the output of keys new: the keyset contains a key that\n" +
			"finds the records of a user for an erasure. rotate and prune keep this key. Do not\n" +
			"redirect the output to the input file: the shell truncates it before it is read.",
		Example: "  (umask 077 && cloudidq keys new > keyset.json)\n" +
			"  (umask 077 && cloudidq keys rotate keyset.json > next.json) && mv next.json keyset.json\n" +
			"  (umask 077 && cloudidq keys prune keyset.json > next.json) && mv next.json keyset.json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 { // not quoted, because the argument might be the keyset
				return usagef("keys has the commands new, rotate and prune; see cloudidq keys --help")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeysNew(s), newKeysRotate(s), newKeysPrune(s))
	return cmd
}

// newKeysNew returns the command keys new.
func newKeysNew(s streams) *cobra.Command {
	return &cobra.Command{
		Use:     "new",
		Short:   "Print a new keyset",
		Example: "  (umask 077 && cloudidq keys new > keyset.json)",
		Args:    takes(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			doc, err := seal.New()
			if err != nil {
				return err
			}
			return printKeyset(s, doc)
		},
	}
}

// newKeysRotate returns the command keys rotate.
func newKeysRotate(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate [FILE|-]",
		Short: "Print the keyset with an additional key that seals new results",
		Long: "rotate reads a keyset from a file or stdin. The old keys remain and can still read\n" +
			"what they have sealed. See cloudidq keys --help for the steps of a rotation.",
		Example: "  (umask 077 && cloudidq keys rotate keyset.json > next.json) && mv next.json keyset.json",
		Args:    takes(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			doc, err := readKeyset(s, args)
			if err != nil {
				return err
			}
			next, err := seal.Rotate(doc)
			if err != nil {
				return err
			}
			return printKeyset(s, next)
		},
	}
}

// newKeysPrune returns the command keys prune.
func newKeysPrune(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "prune [FILE|-]",
		Short: "Print the keyset without its old keys",
		Long: "prune reads a keyset from a file or stdin and removes all keys that no longer\n" +
			"seal. Results sealed with a removed key cannot be read: before you use the pruned\n" +
			"keyset, wait for store.result_ttl after the last process has restarted with the\n" +
			"rotated keyset. See cloudidq keys --help for the steps of a rotation.",
		Example: "  (umask 077 && cloudidq keys prune keyset.json > next.json) && mv next.json keyset.json",
		Args:    takes(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			doc, err := readKeyset(s, args)
			if err != nil {
				return err
			}
			next, removed, err := seal.Prune(doc)
			if err != nil {
				return err
			}
			if err := printKeyset(s, next); err != nil {
				return err
			}
			fmt.Fprintf(s.err, "old keys removed: %d\n", removed)
			return nil
		},
	}
}

// readKeyset returns the keyset of the named file, or of stdin. Its errors are usage errors and
// do not contain the file name: if someone passes the keyset itself as an argument, it must not
// appear in a log.
func readKeyset(s streams, args []string) (secret.Text, error) {
	in, place := s.in, "stdin"
	if len(args) > 0 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return secret.Text{}, usagef("opening the keyset file: %w", pathCause(err))
		}
		defer func() { _ = f.Close() }() // the file is only read, so an error of Close has no effect
		in, place = f, "the file"
	}
	text, err := io.ReadAll(io.LimitReader(in, maxKeysetBytes+1))
	switch {
	case err != nil:
		return secret.Text{}, usagef("reading the keyset from %s: %w", place, pathCause(err))
	case len(text) > maxKeysetBytes:
		return secret.Text{}, usagef("%s has more than %d bytes, the limit of a keyset", place,
			maxKeysetBytes)
	case len(bytes.TrimSpace(text)) == 0:
		return secret.Text{}, usagef(
			"%s is empty; if output is redirected to the input file, the shell truncates it first",
			place)
	}
	// Check the keyset here, so that an invalid one is a usage error.
	doc := secret.New(string(text))
	if _, err := seal.ParseKeyset(doc); err != nil {
		return secret.Text{}, usageError{err}
	}
	return doc, nil
}

// pathCause returns the cause of a file error without the path.
func pathCause(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

// printKeyset is the only place that reveals a keyset. It syncs a file to the disk before the
// command exits with success, because the next shell command may replace the only copy of the
// keys.
func printKeyset(s streams, doc secret.Text) error {
	if f, ok := s.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(s.err, "warning: the keyset is a secret; clear the terminal, "+
			"or redirect the output to a file with mode 0600\n")
	}
	if _, err := fmt.Fprintln(s.out, doc.Reveal()); err != nil {
		return fmt.Errorf("writing the keyset: %w", err)
	}
	if err := syncOut(s.out); err != nil {
		return fmt.Errorf("writing the keyset: %w", err)
	}
	return nil
}

// syncOut syncs a regular file to the disk. Other outputs, such as pipes, need no sync.
func syncOut(out io.Writer) error {
	f, ok := out.(interface {
		Sync() error
		Stat() (fs.FileInfo, error)
	})
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	return f.Sync()
}

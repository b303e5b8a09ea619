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
		Short: "Make, rotate and prune the keyset that seals stored results",
		Long: "keys makes the keyset of store.keyset and changes it. Whoever has the keyset can read the results, and nobody\n" +
			"can without it. All three commands print one line of JSON to stdout.\n\n" +
			"A rotation, once a year or when a keyset may have leaked:\n" +
			"  1. cloudidq keys rotate: the next keyset seals with a new key and reads with the old ones too.\n" +
			"  2. Give it to all processes and restart everything. Until the last has restarted, those that still have the\n" +
			"     old keyset cannot read what the others have sealed since.\n" +
			"  3. Wait for store.result_ttl, until the last result that an old key sealed has ended.\n" +
			"  4. cloudidq keys prune, and restart everything once more. When every copy of the old keyset is gone, what its\n" +
			"     keys sealed can be read by nobody, in no backup either.\n\n" +
			"Never replace a keyset by a new one: records of a person are found, and erased, by a key of it that rotate and\n" +
			"prune keep. Never redirect into the file that is read: the shell empties it first.",
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
		Short:   "Print a keyset with fresh keys",
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
		Short: "Print the keyset with a new key that seals from now on",
		Long: "rotate reads a keyset from a file or from stdin. The old keys stay in it and read what they have sealed.\n" +
			"`cloudidq keys --help` tells the steps of a rotation.",
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
		Short: "Print the keyset without the keys that no longer seal",
		Long: "prune reads a keyset from a file or from stdin. What the removed keys have sealed cannot be read any more: wait\n" +
			"for store.result_ttl after the last process has restarted with the rotated keyset.\n" +
			"`cloudidq keys --help` tells the steps of a rotation.",
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
			return secret.Text{}, usagef("opening the file of the keyset: %w", pathCause(err))
		}
		defer func() { _ = f.Close() }() // the file is only read, so an error of Close has no effect
		in, place = f, "the file"
	}
	text, err := io.ReadAll(io.LimitReader(in, maxKeysetBytes+1))
	switch {
	case err != nil:
		return secret.Text{}, usagef("reading the keyset from %s: %w", place, pathCause(err))
	case len(text) > maxKeysetBytes:
		return secret.Text{}, usagef("%s has more than %d bytes, which is no keyset", place, maxKeysetBytes)
	case len(bytes.TrimSpace(text)) == 0:
		return secret.Text{}, usagef("%s has no keyset, it is empty; a shell empties the file behind > before anything reads it", place)
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
		fmt.Fprintf(s.err, "this keyset is a secret, and the terminal keeps it: clear it, or redirect into a file of mode 0600\n")
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

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/app"
	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/tasks"
)

// backfillFlags holds the flags of the command backfill.
type backfillFlags struct {
	config  *string
	appID   string
	format  string
	webhook string
	resume  string
	out     string
	wait    bool
	rawCSV  bool
}

// newBackfill returns the command backfill.
func newBackfill(s streams) *cobra.Command {
	var f backfillFlags
	cmd := &cobra.Command{
		Use:   "backfill --config FILE --appid APPID [flags] {FILE | -}",
		Short: "Enqueue a file of cloudIDs, of any size",
		Long: "backfill brings a file into queue backfill, which never delays events. Each line of NDJSON is an object of cloud_id,\n" +
			"openid?, obtained_at? and reference?; the columns of CSV, which its header names, are the same. Bad lines are told\n" +
			"by their numbers and skipped. When the queue is full (api.max_pending) it waits for room.\n\n" +
			"The first line on stderr is id=…: whatever ends the command, the same file goes on with --resume ID, and no line is\n" +
			"enqueued twice. A file that has changed since is refused.\n\n" +
			"With --wait it waits until all have ended and prints how; --out writes their records, in the order of the lines.\n\n" +
			"Exit status 1: it broke off, lines were rejected, or (--wait) not all that were accepted are resolved.",
		Example: "  cloudidq backfill --config cloudidq.yaml --appid wx0000000000000001 taps.ndjson\n" +
			"  cloudidq backfill --config cloudidq.yaml --appid wx0000000000000001 --resume bf_… taps.ndjson\n" +
			"  zcat taps.csv.gz | cloudidq backfill --config cloudidq.yaml --appid wx0000000000000001 --format csv --out results.csv -",
		Args: takes(cobra.ExactArgs(1)),
	}
	f.config = configFlag(cmd, s)
	flags := cmd.Flags()
	flags.StringVar(&f.appID, "appid", "", "the mini program the cloudIDs come from")
	flags.StringVar(&f.format, "format", "", "ndjson or csv (default: csv for a file called .csv, else ndjson)")
	flags.StringVar(&f.webhook, "webhook", "", "the endpoint to deliver the results to, instead of the app's")
	flags.StringVar(&f.resume, "resume", "", "go on with the backfill of this id")
	flags.BoolVar(&f.wait, "wait", false, "wait until all have ended, and print how")
	flags.StringVar(&f.out, "out", "", "write the records to this file, or - for stdout; implies --wait. CSV if it is called .csv, else NDJSON")
	flags.BoolVar(&f.rawCSV, "raw-csv", false, "with --out x.csv: write cells that begin as formulas do as they are. Not for spreadsheets")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := config.Load(*f.config, s.lookupEnv)
		if err != nil {
			return err
		}
		in, err := f.check(cfg, s, args[0])
		if err != nil {
			return err
		}
		defer in.close()
		out, err := f.createOutput(s.out, in)
		if err != nil {
			return err
		}
		defer out.discard()
		f.wait = f.wait || out != nil
		return withRecords(cmd.Context(), s, cfg, func(rdb redis.UniversalClient, records *app.Records) error {
			return f.run(cmd.Context(), s, cfg, rdb, records, in, out)
		})
	}
	return cmd
}

// check returns an error with every problem of the flags, and opens the input.
func (f *backfillFlags) check(cfg *config.Config, s streams, path string) (*input, error) {
	faults := []error{wrongApp(cfg, f.appID), wrongWebhook(cfg, f.appID, f.webhook)}
	if f.format != "" && !slices.Contains(lines.Formats, lines.Format(f.format)) {
		faults = append(faults, errors.New("--format is neither ndjson nor csv"))
	}
	if f.rawCSV && (f.out == "" || f.out == stdio || formatOf(f.out) != lines.CSV) {
		faults = append(faults, errors.New("--raw-csv goes with --out and a file called .csv"))
	}
	in, err := openInput(path, s.in)
	if err != nil {
		faults = append(faults, err)
	}
	if err := usage(faults...); err != nil {
		in.close()
		return nil, err
	}
	if f.format == "" && f.resume == "" {
		f.format = string(formatOf(path))
	}
	return in, nil
}

// run loads the input. With --wait it also waits for the results and reports them.
func (f *backfillFlags) run(
	ctx context.Context, s streams, cfg *config.Config, rdb redis.UniversalClient, records *app.Records, in *input, out *output,
) error {
	// Print the id first, so that an interrupted load can be resumed.
	at, err := f.open(ctx, cfg, records.Backfills)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "id=%s\n", at.Backfill.ID)
	producer := tasks.NewClient(rdb, tasks.Options{})
	defer producer.Close()
	loader := &backfill.Loader{
		Store: records.Backfills, Producer: producer,
		Pressure: app.NewQueueLoad(rdb, cfg.API.MaxPending, slog.New(slog.DiscardHandler)), // loadProgress reports it
	}
	progress := newLoadProgress(s.err, in, at.Backfill)
	of, err := loader.Load(ctx, at, lines.New(in, lines.Format(at.Backfill.Format)), backfill.Options{
		Progress: progress.lines, Reject: progress.reject, Full: progress.full, AtEnd: in.unchanged, Unblock: in.unblock,
	})
	progress.finish(of)
	if err != nil {
		return f.brokenOff(ctx, records.Backfills, of, err)
	}
	faults := []error{rejected(of)}
	if f.wait {
		of, err := awaitBackfill(ctx, s, records.Backfills, of)
		if err != nil {
			return errors.Join(append(faults, err)...)
		}
		faults = append(faults, report(ctx, s, records, of, out))
	}
	return errors.Join(faults...)
}

// open creates the backfill, or loads the one to resume.
func (f *backfillFlags) open(ctx context.Context, cfg *config.Config, backfills *backfill.Store) (backfill.Loading, error) {
	as := backfill.Backfill{AppID: f.appID, Webhook: f.webhook, Format: f.format}
	if f.resume == "" {
		as.ID = backfill.NewID()
		return backfills.Create(ctx, as)
	}
	was, err := backfills.Get(ctx, f.resume)
	switch {
	case errors.Is(err, backfill.ErrNotFound):
		return backfill.Loading{}, usagef("--resume: there is no such backfill, or its time is over (store.result_ttl and a day)")
	case err != nil:
		return backfill.Loading{}, err
	case was.AppID != f.appID:
		return backfill.Loading{}, usagef("--resume: the backfill is of another app than --appid")
	case f.format != "" && was.Format != f.format:
		return backfill.Loading{}, usagef("--resume: the backfill is of format %s", was.Format)
	case f.webhook != "" && was.Webhook != f.webhook:
		return backfill.Loading{}, usagef("--resume: the backfill is for another webhook")
	case was.State == backfill.Canceled:
		return backfill.Loading{}, usagef("--resume: the backfill has been canceled")
	}
	if err := cfg.MayName(was.AppID, was.Webhook, false); err != nil {
		return backfill.Loading{}, usagef("--resume: the backfill's webhook %w", err)
	}
	return backfills.Resume(ctx, f.resume)
}

// brokenOff returns the error of an interrupted backfill, with the number of loaded lines and
// the command to resume it.
func (f *backfillFlags) brokenOff(ctx context.Context, backfills *backfill.Store, of backfill.Backfill, err error) error {
	// The message says how to continue, unless the backfill cannot be continued.
	header, isHeader := errors.AsType[*lines.HeaderError](err)
	changed, isChanged := errors.AsType[*backfill.ChangedError](err)
	switch {
	case isHeader && of.Lines == 0:
		_, _ = backfills.Cancel(context.WithoutCancel(ctx), of.ID) // otherwise the empty backfill stays open until it expires
		return usageError{header}
	case isChanged:
		return fmt.Errorf("%w; nothing more was enqueued", changed)
	case errors.Is(err, context.Canceled):
		err = errors.New("stopped")
	case errors.Is(err, backfill.ErrCanceled), errors.Is(err, backfill.ErrComplete), errors.Is(err, backfill.ErrNotFound):
		return err
	}
	return fmt.Errorf("%w; lines that are in: %d; go on with --resume %s", err, of.Lines, of.ID)
}

// rejected returns an error if the file had bad lines.
func rejected(of backfill.Backfill) error {
	if of.Rejected == 0 {
		return nil
	}
	return fmt.Errorf("rejected lines: %d of %d", of.Rejected, of.Lines)
}

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
	"cloudidq/internal/open"
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
		Short: "Enqueue a file of cloudIDs of any size",
		Long: "backfill loads a file into queue backfill, which never delays queue events. The\n" +
			"file is NDJSON or CSV. Each line of NDJSON is an object with cloud_id, openid?,\n" +
			"obtained_at? and reference?; a CSV file has these columns and a header. Invalid\n" +
			"lines are reported by line number and skipped. While the queue is full\n" +
			"(api.max_pending), backfill waits.\n\n" +
			"The first line on stderr is id=…. If the command is interrupted, run it again with\n" +
			"the same file and --resume ID; no line is enqueued twice. A file that has changed\n" +
			"is rejected.\n\n" +
			"With --wait, backfill waits until all cloudIDs are finished and prints a summary.\n" +
			"--out writes their records in the order of the lines.\n\n" +
			"The exit status is 1 if the command was interrupted, if lines were rejected, or,\n" +
			"with --wait, if not all accepted cloudIDs are resolved.",
		Example: "  cloudidq backfill --config cloudidq.yaml --appid wx0000000000000001 taps.ndjson\n" +
			"  cloudidq backfill --config cloudidq.yaml --appid wx0000000000000001 --resume bf_… taps.ndjson\n" +
			"  zcat taps.csv.gz | cloudidq backfill --config cloudidq.yaml --appid wx0000000000000001 " +
			"--format csv --out results.csv -",
		Args: takes(cobra.ExactArgs(1)),
	}
	f.config = configFlag(cmd, s)
	flags := cmd.Flags()
	flags.StringVar(&f.appID, "appid", "", "appid of the mini program")
	flags.StringVar(&f.format, "format", "",
		"ndjson or csv (default: csv for a .csv file, otherwise ndjson)")
	flags.StringVar(&f.webhook, "webhook", "",
		"endpoint for the results, instead of the app's default")
	flags.StringVar(&f.resume, "resume", "", "id of the backfill to resume")
	flags.BoolVar(&f.wait, "wait", false,
		"wait until all cloudIDs are finished and print a summary")
	flags.StringVar(&f.out, "out", "",
		"write the records to this file, or to stdout if it is -; implies --wait "+
			"(CSV for a .csv file, otherwise NDJSON)")
	flags.BoolVar(&f.rawCSV, "raw-csv", false,
		"with a CSV file in --out: do not escape cells that look like formulas (unsafe for spreadsheets)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := config.Load(*f.config, s.lookupEnv)
		if err != nil {
			return err
		}
		// Open the files before anything is enqueued, so that a wrong name is a usage error.
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
		f.wait = f.wait || out != nil // --out implies --wait
		load := func(rdb redis.UniversalClient, records *open.Records) error {
			return f.run(cmd.Context(), s, cfg, rdb, records, in, out)
		}
		return withRecords(cmd.Context(), s, cfg, load)
	}
	return cmd
}

// check returns an error with every problem of the flags, and opens the input.
func (f *backfillFlags) check(cfg *config.Config, s streams, path string) (*input, error) {
	faults := []error{wrongApp(cfg, f.appID), wrongWebhook(cfg, f.appID, f.webhook)}
	if f.format != "" && !slices.Contains(lines.Formats, lines.Format(f.format)) {
		faults = append(faults, errors.New("--format must be ndjson or csv"))
	}
	if f.rawCSV && (f.out == "" || f.out == stdio || formatOf(f.out) != lines.CSV) {
		faults = append(faults, errors.New("--raw-csv requires --out with a .csv file"))
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
	ctx context.Context, s streams, cfg *config.Config, rdb redis.UniversalClient, records *open.Records,
	in *input, out *output,
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
		// loadProgress reports a full queue, so it need not be logged.
		Pressure: app.NewQueueLoad(rdb, cfg.API.MaxPending, slog.New(slog.DiscardHandler)),
	}
	// Load the lines. loader calls the functions of progress while it works.
	progress := newLoadProgress(s.err, in, at.Backfill)
	of, err := loader.Load(ctx, at, lines.New(in, lines.Format(at.Backfill.Format)), backfill.Options{
		Progress: progress.lines, Reject: progress.reject, Full: progress.full,
		AtEnd: in.unchanged, Unblock: in.unblock,
	})
	progress.finish(of)
	if err != nil {
		return f.interrupted(ctx, records.Backfills, of, err)
	}
	faults := []error{rejected(of)}
	if f.wait {
		// Wait for the results, and write them to --out.
		of, err := awaitBackfill(ctx, s, records.Backfills, of)
		if err != nil {
			return errors.Join(append(faults, err)...)
		}
		faults = append(faults, report(ctx, s, records, of, out))
	}
	return errors.Join(faults...)
}

// open creates the backfill, or loads the one to resume.
func (f *backfillFlags) open(
	ctx context.Context, cfg *config.Config, backfills *backfill.Store,
) (backfill.Loading, error) {
	as := backfill.Backfill{AppID: f.appID, Webhook: f.webhook, Format: f.format}
	if f.resume == "" {
		as.ID = backfill.NewID()
		return backfills.Create(ctx, as)
	}
	// The flags must match those of the interrupted load.
	was, err := backfills.Get(ctx, f.resume)
	switch {
	case errors.Is(err, backfill.ErrNotFound):
		return backfill.Loading{}, usagef(
			"--resume: the backfill does not exist or has expired (store.result_ttl plus one day)")
	case err != nil:
		return backfill.Loading{}, err
	case was.AppID != f.appID:
		return backfill.Loading{}, usagef("--resume: the backfill belongs to another app than --appid")
	case f.format != "" && was.Format != f.format:
		return backfill.Loading{}, usagef("--resume: the backfill has format %s", was.Format)
	case f.webhook != "" && was.Webhook != f.webhook:
		return backfill.Loading{}, usagef("--resume: the backfill has another webhook")
	case was.State == backfill.Canceled:
		return backfill.Loading{}, usagef("--resume: the backfill has been canceled")
	}
	if err := cfg.MayName(was.AppID, was.Webhook, false); err != nil {
		return backfill.Loading{}, usagef("--resume: the backfill's webhook %w", err)
	}
	return backfills.Resume(ctx, f.resume)
}

// interrupted returns the error of an interrupted backfill, with the number of loaded lines and
// the flag that resumes it.
func (f *backfillFlags) interrupted(
	ctx context.Context, backfills *backfill.Store, of backfill.Backfill, err error,
) error {
	// The message says how to continue, unless the backfill cannot be continued.
	header, isHeader := errors.AsType[*lines.HeaderError](err)
	changed, isChanged := errors.AsType[*backfill.ChangedError](err)
	switch {
	case isHeader && of.Lines == 0:
		// Otherwise the empty backfill stays open until it expires.
		_, _ = backfills.Cancel(context.WithoutCancel(ctx), of.ID)
		return usageError{header}
	case isChanged:
		return fmt.Errorf("%w; nothing more was enqueued", changed)
	case errors.Is(err, context.Canceled):
		err = errors.New("stopped")
	case errors.Is(err, backfill.ErrCanceled), errors.Is(err, backfill.ErrComplete),
		errors.Is(err, backfill.ErrNotFound):
		return err
	}
	return fmt.Errorf("%w; lines loaded: %d; continue with --resume %s", err, of.Lines, of.ID)
}

// rejected returns an error if the file had invalid lines.
func rejected(of backfill.Backfill) error {
	if of.Rejected == 0 {
		return nil
	}
	return fmt.Errorf("rejected lines: %d of %d", of.Rejected, of.Lines)
}

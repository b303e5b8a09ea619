package httpapi

import (
	"encoding/json"
	"net/http"
	"net/url"

	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/store"
)

// getResults streams the finished records of a backfill, in the order of its lines.
func (h *backfills) getResults(w http.ResponseWriter, r *http.Request) {
	bf, err := h.find(r.Context(), r.PathValue("id"), ScopeRead)
	if err != nil {
		writeError(w, err)
		return
	}
	format, raw, err := formatOf(r.URL.Query())
	if err != nil {
		writeError(w, err)
		return
	}
	// Choose the media type of the format.
	kind := ndjsonType
	if format == lines.CSV {
		kind = "text/csv; charset=utf-8; header=present"
	}
	h.download(w, r, kind, func(s *stream) error {
		out := backfill.NewWriter(s, format)
		if raw {
			out.Raw()
		}
		// A stop of the server interrupts the download between two batches.
		return backfill.Results(r.Context(), h.store, h.results, &bf, func(records []store.Record) error {
			if err := h.stopping.Err(); err != nil {
				return err
			}
			return out.Write(records)
		})
	})
}

const ndjsonType = "application/x-ndjson"

// formatOf returns the format of the results that a query requests. raw applies to CSV only: the
// cells are written exactly as stored.
func formatOf(query url.Values) (format lines.Format, raw bool, err error) {
	// refused returns the problem for one parameter.
	refused := func(location, message string) (lines.Format, bool, error) {
		return "", false, newProblem(http.StatusUnprocessableEntity, "nothing was read", fault{location, message})
	}
	for name := range query {
		if name != "format" && name != "raw_csv" {
			return refused("query", "has an unknown parameter")
		}
	}
	if format = lines.Format(query.Get("format")); format == "" {
		format = lines.NDJSON
	}
	if format != lines.NDJSON && format != lines.CSV {
		return refused("query.format", "must be ndjson or csv")
	}
	switch query.Get("raw_csv") {
	case "", "false":
		return format, false, nil
	case "true":
		if format == lines.CSV {
			return format, true, nil
		}
		return refused("query.raw_csv", "requires format=csv")
	default:
		return refused("query.raw_csv", "must be true or false")
	}
}

// rejectsAtOnce is the number of rejects that one call reads from the store.
const rejectsAtOnce = 1000

// rejects streams the first 10,000 rejected lines of a backfill ([backfill.MaxRejects]).
func (h *backfills) rejects(w http.ResponseWriter, r *http.Request) {
	bf, err := h.find(r.Context(), r.PathValue("id"), ScopeRead)
	if err != nil {
		writeError(w, err)
		return
	}
	h.download(w, r, ndjsonType, func(s *stream) error {
		enc := json.NewEncoder(s)
		for from := 0; ; from += rejectsAtOnce {
			rejects, err := h.store.Rejects(r.Context(), bf.ID, from, rejectsAtOnce)
			if err != nil {
				return err
			}
			for i := range rejects {
				if err := enc.Encode(&rejects[i]); err != nil {
					return err
				}
			}
			if len(rejects) < rejectsAtOnce {
				return nil
			}
		}
	})
}

// download streams a response. If send fails before the first byte, the response is a problem.
// After that, download aborts the connection, so that the client notices that the response is
// incomplete.
func (h *backfills) download(w http.ResponseWriter, r *http.Request, kind string, send func(*stream) error) {
	w.Header().Set("Content-Type", kind)
	if r.Method == http.MethodHead {
		return
	}
	// The statusWriter records whether anything was sent.
	response := &statusWriter{ResponseWriter: w}
	switch err := send(newStream(response, h.timing.write)); {
	case err == nil:
	case response.started():
		h.log.Info("download interrupted", "route", r.Pattern, "stopping", h.stopping.Err() != nil)
		panic(http.ErrAbortHandler)
	default:
		writeProblem(w, storeUnavailable())
	}
}

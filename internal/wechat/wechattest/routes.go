package wechattest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// serveCloudIDs answers GET /sim/cloudids.
func (s *Simulator) serveCloudIDs(w http.ResponseWriter, r *http.Request) {
	if !isGet(w, r) {
		return
	}
	q := r.URL.Query()
	appID := q.Get("appid")
	n, errN := number(q, "n", 1, 1)
	users, errUsers := number(q, "users", uint64(s.cfg.Users), 1)
	start, errStart := number(q, "start", 0, 0)
	age, errAge := duration(q, "age")
	if err := errors.Join(required("appid", appID), errN, errUsers, errStart, errAge); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !q.Has("start") {
		start = s.advance(appID, n)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	for i := start; i < start+n; i++ {
		// Consecutive taps cycle through the users.
		tap := s.CloudID(appID, int(i%users), int(i/users), s.cfg.Now().Add(-age))
		line = append(line[:0], `{"cloud_id":"`...)
		line = append(line, tap.CloudID...)
		line = append(line, `","openid":"`...)
		line = append(line, tap.OpenID...)
		line = append(line, `","obtained_at":"`...)
		line = tap.ObtainedAt.AppendFormat(line, "2006-01-02T15:04:05.000Z")
		line = append(line, "\"}\n"...)
		if _, err := out.Write(line); err != nil {
			return
		}
	}
	_ = out.Flush()
}

// advance reserves the next n taps of an app and returns the number of the first.
func (s *Simulator) advance(appID string, n uint64) uint64 {
	s.frontMu.Lock()
	defer s.frontMu.Unlock()
	start := s.front[appID]
	s.front[appID] = start + n
	return start
}

// serveToken answers GET /sim/token.
func (s *Simulator) serveToken(w http.ResponseWriter, r *http.Request) {
	if !isGet(w, r) {
		return
	}
	appID := r.URL.Query().Get("appid")
	if err := required("appid", appID); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, map[string]string{"access_token": s.StaticToken(appID)})
}

// serveStats answers GET /sim/stats.
func (s *Simulator) serveStats(w http.ResponseWriter, r *http.Request) {
	if !isGet(w, r) {
		return
	}
	if appID := r.URL.Query().Get("appid"); appID != "" {
		writeJSON(w, s.AppStats(appID))
		return
	}
	writeJSON(w, s.Stats())
}

// question is a request to /sim/truth; answered is the answer.
type question struct {
	AppID   string `json:"appid"`
	OpenID  string `json:"openid"`
	CloudID string `json:"cloud_id"`
}

type answered struct {
	question
	Truth
}

// check returns an error if q is incomplete.
func (q question) check() error {
	return errors.Join(required("appid", q.AppID), required("cloud_id", q.CloudID))
}

// serveTruth answers GET and POST /sim/truth.
func (s *Simulator) serveTruth(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		s.serveTruths(w, r)
		return
	}
	if !isGet(w, r) {
		return
	}
	query := r.URL.Query()
	q := question{AppID: query.Get("appid"), OpenID: query.Get("openid"), CloudID: query.Get("cloud_id")}
	if err := q.check(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, answered{q, s.Truth(q.AppID, q.OpenID, q.CloudID)})
}

// serveTruths answers each line as it arrives. The answer to an invalid line is
// {"line":n,"error":…}, and it is the last line.
func (s *Simulator) serveTruths(w http.ResponseWriter, r *http.Request) {
	// Without full duplex, the server would close the request body at the first byte of the
	// answer. HTTP/2 is always full duplex.
	_ = http.NewResponseController(w).EnableFullDuplex()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriterSize(w, 64<<10)
	defer func() { _ = out.Flush() }()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)

	lines := bufio.NewScanner(r.Body)
	for n := 1; lines.Scan(); n++ {
		var q question
		err := json.Unmarshal(lines.Bytes(), &q)
		if err == nil {
			err = q.check()
		}
		if err != nil {
			_ = encoder.Encode(map[string]any{"line": n, "error": err.Error()})
			return
		}
		if encoder.Encode(answered{q, s.Truth(q.AppID, q.OpenID, q.CloudID)}) != nil {
			return
		}
	}
	if err := lines.Err(); err != nil {
		_ = encoder.Encode(map[string]any{"error": err.Error()})
	}
}

// isGet reports whether the method is GET. It answers every other request.
func isGet(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet {
		return true
	}
	http.Error(w, "method "+r.Method+" is not allowed", http.StatusMethodNotAllowed)
	return false
}

// required returns an error if a required value is empty.
func required(name, value string) error {
	if value == "" {
		return fmt.Errorf("%s is missing", name)
	}
	return nil
}

// number parses a query value of at least low. It returns fallback if there is none.
func number(q url.Values, name string, fallback, low uint64) (uint64, error) {
	if !q.Has(name) {
		return fallback, nil
	}
	v, err := strconv.ParseUint(q.Get(name), 10, 32)
	if err != nil || v < low {
		return 0, fmt.Errorf("%s is %q, want an integer from %d to %d", name, q.Get(name), low,
			uint32(1<<32-1))
	}
	return v, nil
}

// duration parses a query value such as 4m30s. It returns 0 if there is none.
func duration(q url.Values, name string) (time.Duration, error) {
	if !q.Has(name) {
		return 0, nil
	}
	d, err := time.ParseDuration(q.Get(name))
	if err != nil {
		return 0, fmt.Errorf("%s is %q, want a duration such as 4m30s", name, q.Get(name))
	}
	return d, nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v)
}

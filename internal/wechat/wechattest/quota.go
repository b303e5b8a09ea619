package wechattest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// shownLimit is the quota that an app without a limit reports.
const shownLimit = 100_000

// overQuota reports whether an app has used up its quota of the day. In the simulator the day
// never ends.
func (s *Simulator) overQuota(app *appCounters) bool {
	return s.cfg.DailyLimit > 0 && app.requests.Load() > s.cfg.DailyLimit
}

// quotaGet answers POST /cgi-bin/openapi/quota/get.
func (s *Simulator) quotaGet(w http.ResponseWriter, r *http.Request) {
	now := s.cfg.Now()
	answer, code := s.quota(r)
	if code != 0 {
		answer = s.appendError(nil, code, now)
	}
	w.Header().Set("Content-Type", formJSON.String())
	_, _ = w.Write(answer)
}

// quota returns the answer of quota/get, or an errcode.
func (s *Simulator) quota(r *http.Request) ([]byte, int) {
	g, code := s.tokens.check(r.URL.Query().Get(paramAccess), s.cfg.Now())
	if code != 0 {
		return nil, code
	}
	var params struct {
		Path string `json:"cgi_path"`
	}
	if code := readParams(r, &params); code != 0 {
		return nil, code
	}
	switch {
	case !strings.HasPrefix(params.Path, "/"):
		return nil, codeForeignPath
	case params.Path != "/wxa/getopendata":
		return nil, codeUnknownPath
	}
	limit, used := int64(shownLimit), s.apps.of(g.appID).requests.Load()
	if s.cfg.DailyLimit > 0 {
		limit = s.cfg.DailyLimit
	}
	answer, _ := json.Marshal(map[string]any{ // numbers and strings can always be marshalled
		"errcode": 0, "errmsg": "ok",
		"quota":      map[string]int64{"daily_limit": limit, "used": min(used, limit), "remain": max(limit-used, 0)},
		"rate_limit": map[string]int64{"call_count": 5000, "refresh_second": 60},
	})
	return answer, 0
}

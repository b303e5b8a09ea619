package wechattest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// stableToken answers POST /cgi-bin/stable_token.
func (s *Simulator) stableToken(w http.ResponseWriter, r *http.Request) {
	s.granting(w, r, func(now time.Time) ([]byte, int) {
		var params struct {
			GrantType    string `json:"grant_type"`
			AppID        string `json:"appid"`
			Secret       string `json:"secret"`
			ForceRefresh bool   `json:"force_refresh"`
		}
		if code := readParams(r, &params); code != 0 {
			return nil, code
		}
		if code := s.checkSecret(params.GrantType, params.AppID, params.Secret); code != 0 {
			return nil, code
		}
		s.apps.of(params.AppID).tokenCalls.Add(1)
		if params.ForceRefresh {
			s.stats.tokenForced.Add(1)
		}
		token, life := s.tokens.stable(params.AppID, now, params.ForceRefresh)
		return granted("access_token", token, life), 0
	})
}

// legacyToken answers GET /cgi-bin/token.
func (s *Simulator) legacyToken(w http.ResponseWriter, r *http.Request) {
	s.granting(w, r, func(now time.Time) ([]byte, int) {
		if r.Method != http.MethodGet {
			return nil, codeNeedGet
		}
		q := r.URL.Query()
		appID := q.Get("appid")
		if code := s.checkSecret(q.Get("grant_type"), appID, q.Get("secret")); code != 0 {
			return nil, code
		}
		s.apps.of(appID).tokenCalls.Add(1)
		return granted("access_token", s.tokens.fresh(holder{familyLegacy, appID}, now, s.cfg.TokenTTL), s.cfg.TokenTTL), 0
	})
}

// RemoteHeader is the header that the token server of GET /sim/remote_token requires.
const RemoteHeader = "X-Token-Auth: let-me-in"

// remoteToken answers GET /sim/remote_token?appid=A. It is a central token server with the token
// of stable_token.
func (s *Simulator) remoteToken(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Token-Auth") != "let-me-in" {
		http.Error(w, "the header X-Token-Auth is missing or wrong", http.StatusUnauthorized)
		return
	}
	s.granting(w, r, func(now time.Time) ([]byte, int) {
		appID := r.URL.Query().Get("appid")
		if appID == "" {
			return nil, codeAppIDMissing
		}
		s.apps.of(appID).tokenCalls.Add(1)
		token, life := s.tokens.stable(appID, now, false)
		return granted("access_token", token, life), 0
	})
}

// granting answers a call of a token endpoint with the result of grant, or with its errcode.
func (s *Simulator) granting(w http.ResponseWriter, r *http.Request, grant func(now time.Time) ([]byte, int)) {
	s.stats.tokenCalls.Add(1)
	now := s.cfg.Now()
	answer, code := grant(now)
	if code != 0 {
		answer = s.appendError(nil, code, now)
	}
	if !wait(r.Context(), s.cfg.Latency) {
		return
	}
	w.Header().Set("Content-Type", "application/json; encoding=utf-8") // WeChat's own spelling
	_, _ = w.Write(answer)
}

// readParams parses the JSON body of a POST into params. It returns the errcode of an invalid
// request, or 0.
func readParams(r *http.Request, params any) int {
	if r.Method != http.MethodPost {
		return codeNeedPost
	}
	body, err := readBody(nil, r)
	if len(body) == 0 {
		return codeEmptyPost
	}
	if err != nil || json.Unmarshal(body, params) != nil {
		return codeDataFormat
	}
	return 0
}

// checkSecret returns the errcode of a token request with invalid parameters, or 0.
func (s *Simulator) checkSecret(grantType, appID, secret string) int {
	switch {
	case grantType != "client_credential":
		return codeInvalidGrantType
	case appID == "":
		return codeAppIDMissing
	case secret == "":
		return codeSecretMissing
	case s.cfg.Secret != "" && secret != s.cfg.Secret:
		return codeInvalidSecret
	}
	return 0
}

// granted returns a success answer: {"access_token":"…","expires_in":7200}. expires_in is in
// whole seconds, rounded up.
func granted(field, token string, life time.Duration) []byte {
	answer := []byte(`{"` + field + `":"` + token + `","expires_in":`)
	answer = strconv.AppendInt(answer, int64((life+time.Second-1)/time.Second), 10)
	return append(answer, '}')
}

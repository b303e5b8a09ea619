package wechattest

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// setFaults answers POST /sim/faults.
func (s *Simulator) setFaults(w http.ResponseWriter, r *http.Request) {
	var params struct {
		AppID  string `json:"appid"`
		Faults Faults `json:"faults"`
		For    string `json:"for"`
	}
	if !isPost(w, r) {
		return
	}
	body, err := readBody(nil, r)
	if err == nil {
		err = json.Unmarshal(body, &params)
	}
	var d time.Duration
	if err == nil && params.For != "" {
		d, err = time.ParseDuration(params.For)
	}
	if err == nil {
		err = s.SetFaults(params.AppID, params.Faults, d)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, map[string]bool{"ok": true})
}

// servePush answers POST /sim/push.
func (s *Simulator) servePush(w http.ResponseWriter, r *http.Request) {
	if !isPost(w, r) {
		return
	}
	q := r.URL.Query()
	err := errors.Join(required("component", q.Get("component")), required("event", q.Get("event")),
		required("url", q.Get("url")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := s.Push(r.Context(), q.Get("component"), q.Get("event"), q.Get("appid"), q.Get("url")); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	writeJSON(w, map[string]bool{"ok": true})
}

// serveAuthorize answers POST /sim/authorize.
func (s *Simulator) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	if !isPost(w, r) {
		return
	}
	q := r.URL.Query()
	code, refresh, err := s.Authorize(q.Get("component"), q.Get("appid"))
	if err := errors.Join(required("appid", q.Get("appid")), err); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, map[string]string{"authorization_code": code, "refresh_token": refresh})
}

// serveCloudbaseToken answers GET /sim/cloudbase_token.
func (s *Simulator) serveCloudbaseToken(w http.ResponseWriter, r *http.Request) {
	if !isGet(w, r) {
		return
	}
	appID := r.URL.Query().Get("appid")
	if err := required("appid", appID); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, map[string]string{"cloudbase_access_token": s.CloudbaseToken(appID)})
}

// isPost reports whether the method is POST. It answers every other request.
func isPost(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodPost {
		return true
	}
	http.Error(w, "method "+r.Method+" is not allowed", http.StatusMethodNotAllowed)
	return false
}

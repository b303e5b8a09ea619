package wechattest

import (
	"net/http"
	"time"
)

// Names of a credential in the query of getopendata.
const (
	paramAccess    = "access_token"
	paramCloudbase = "cloudbase_access_token"
)

// DefaultCloudbaseTTL is how long a token of cloud hosting lives
// (developers.weixin.qq.com/minigame/dev/wxcloud/guide/container/cloudcall.html).
const DefaultCloudbaseTTL = 30 * time.Minute

// headerSidecar is in every answer that came through the side-car of cloud hosting
// (developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/guide/weixin/open.html).
const headerSidecar = "X-Openapi-Seqid"

// CloudbaseToken returns a new token as cloud hosting writes it into its file. It goes by the name of
// cloudbase_access_token; one before it stays good until its own end.
func (s *Simulator) CloudbaseToken(appID string) string {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	return s.tokens.issue(holder{familyCloudbase, appID}, s.cfg.Now(), s.cfg.CloudbaseTTL).token
}

// credential returns the app that a call of getopendata is made for, or the errcode of one without leave.
func (s *Simulator) credential(query string, now time.Time) (grant, int) {
	param := paramAccess
	token := queryValue(query, param)
	if token == "" {
		param = paramCloudbase
		token = queryValue(query, param)
	}
	if s.cfg.SidecarAppID != "" {
		return s.throughSidecar(query, token, now)
	}
	g, code := s.tokens.check(token, now)
	switch {
	case code != 0:
		return grant{}, code
	case !g.family.takenAs(param):
		return grant{}, codeInvalidToken
	case g.family == familyAuthorizer && !s.platforms.authorised(g.appID):
		return grant{}, codeNotAuthorised
	}
	return g, 0
}

// throughSidecar adds the credential of the environment, or that of the app which it serves beside its own.
func (s *Simulator) throughSidecar(query, token string, now time.Time) (grant, int) {
	switch {
	case token != "":
		return grant{}, codeTokenExpired // the platform takes no other than its own
	case now.Before(s.started.Add(s.cfg.SidecarAfter)):
		return grant{}, codeTokenMissing
	}
	appID := s.cfg.SidecarAppID
	if from := queryValue(query, "from_appid"); from != "" {
		appID = from
	}
	return grant{appID: appID, app: s.codec.appHash(appID)}, 0
}

// markSidecar tells the client that its call has passed the side-car.
func (s *Simulator) markSidecar(h http.Header) {
	if s.cfg.SidecarAppID != "" {
		h.Set(headerSidecar, "sim")
	}
}

package wechattest

import (
	"net/http"
	"time"
)

// Names of the credential in the query of getopendata.
const (
	paramAccess    = "access_token"
	paramCloudbase = "cloudbase_access_token"
)

// DefaultCloudbaseTTL is the lifetime of a cloud hosting token
// (developers.weixin.qq.com/minigame/dev/wxcloud/guide/container/cloudcall.html).
const DefaultCloudbaseTTL = 30 * time.Minute

// headerSidecar is set in every answer that passed the side-car of cloud hosting
// (developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/guide/weixin/open.html).
const headerSidecar = "X-Openapi-Seqid"

// CloudbaseToken returns a new token as cloud hosting writes it to its token file. Clients send
// it as cloudbase_access_token. Earlier tokens stay valid until their own expiry.
func (s *Simulator) CloudbaseToken(appID string) string {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	return s.tokens.issueLocked(holder{familyCloudbase, appID}, s.cfg.Now(), s.cfg.CloudbaseTTL).token
}

// credential returns the grant of a getopendata call, or the errcode if the call has no valid
// credential.
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
	case !g.family.acceptedAs(param):
		return grant{}, codeInvalidToken
	case g.family == familyAuthorizer && !s.platforms.authorised(g.appID):
		return grant{}, codeNotAuthorised
	}
	return g, 0
}

// throughSidecar acts as the side-car: it adds the credential of the environment's app, or of
// the app in from_appid.
func (s *Simulator) throughSidecar(query, token string, now time.Time) (grant, int) {
	switch {
	case token != "":
		return grant{}, codeTokenExpired // the platform accepts only its own token
	case now.Before(s.started.Add(s.cfg.SidecarAfter)):
		return grant{}, codeTokenMissing
	}
	appID := s.cfg.SidecarAppID
	if from := queryValue(query, "from_appid"); from != "" {
		appID = from
	}
	return grant{appID: appID, app: s.codec.appHash(appID)}, 0
}

// markSidecar sets the header that says that a call has passed the side-car.
func (s *Simulator) markSidecar(h http.Header) {
	if s.cfg.SidecarAppID != "" {
		h.Set(headerSidecar, "sim")
	}
}

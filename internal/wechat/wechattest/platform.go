package wechattest

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Component is a third-party platform registered with the simulator.
type Component struct {
	AppID       string
	Secret      string
	VerifyToken string // signs the pushes
	AESKey      string // 43 characters; encrypts the pushes
}

// ticketLife is the lifetime of a component_verify_ticket
// (developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/Before_Develop/creat_token.md).
const ticketLife = 12 * time.Hour

// platforms is WeChat's state of the third-party platforms.
type platforms struct {
	codec *codec

	mu       sync.Mutex
	byID     map[string]*platform // never modified after New
	merchant map[string]string    // appid to the component that it has authorised; guarded by mu
}

// platform is the state of one third-party platform. Guarded by platforms.mu.
type platform struct {
	Component
	ticket   string
	ticketAt time.Time
	serial   uint32
	codes    map[string]string // authorization code to appid; removed once used
	refresh  map[string]string // appid to its refresh token
}

func newPlatforms(c *codec, components []Component) *platforms {
	p := &platforms{codec: c, byID: make(map[string]*platform), merchant: make(map[string]string)}
	for _, component := range components {
		p.byID[component.AppID] = &platform{
			Component: component, codes: make(map[string]string), refresh: make(map[string]string),
		}
	}
	return p
}

// nextLocked creates a secret of the platform that no one can guess.
func (p *platforms) nextLocked(of *platform, what string) string {
	of.serial++
	return what + "@@@" + p.codec.token(of.AppID, of.serial)
}

// authorised reports whether the app has authorised a platform.
func (p *platforms) authorised(appID string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.merchant[appID] != ""
}

// Ticket creates a component's next component_verify_ticket. Only the newest ticket is accepted.
func (s *Simulator) Ticket(component string) (string, error) {
	s.platforms.mu.Lock()
	defer s.platforms.mu.Unlock()
	p := s.platforms.byID[component]
	if p == nil {
		return "", fmt.Errorf("component %q is unknown", component)
	}
	p.ticket, p.ticketAt = s.platforms.nextLocked(p, "ticket"), s.cfg.Now()
	return p.ticket, nil
}

// Authorize makes the merchant of an app authorise a component. The code works once and can be
// exchanged for the refresh token. Authorize also returns the refresh token, for tests that
// configure it.
func (s *Simulator) Authorize(component, appID string) (code, refresh string, err error) {
	s.platforms.mu.Lock()
	defer s.platforms.mu.Unlock()
	p := s.platforms.byID[component]
	if p == nil {
		return "", "", fmt.Errorf("component %q is unknown", component)
	}
	code, refresh = s.platforms.nextLocked(p, "queryauthcode"), s.platforms.nextLocked(p,
		"refreshtoken")
	p.codes[code], p.refresh[appID] = appID, refresh
	s.platforms.merchant[appID] = component
	return code, refresh, nil
}

// Unauthorize makes the merchant of an app withdraw the authorization. Its refresh token and
// access tokens become invalid.
func (s *Simulator) Unauthorize(component, appID string) error {
	s.platforms.mu.Lock()
	defer s.platforms.mu.Unlock()
	p := s.platforms.byID[component]
	if p == nil {
		return fmt.Errorf("component %q is unknown", component)
	}
	delete(p.refresh, appID)
	delete(s.platforms.merchant, appID)
	return nil
}

// componentParams is the JSON body of a platform's calls.
type componentParams struct {
	Component  string `json:"component_appid"`
	Secret     string `json:"component_appsecret"`
	Ticket     string `json:"component_verify_ticket"`
	Code       string `json:"authorization_code"`
	Authorizer string `json:"authorizer_appid"`
	Refresh    string `json:"authorizer_refresh_token"`
}

// componentToken answers POST /cgi-bin/component/api_component_token.
func (s *Simulator) componentToken(w http.ResponseWriter, r *http.Request) {
	s.granting(w, r, func(now time.Time) ([]byte, int) {
		var params componentParams
		if code := readParams(r, &params); code != 0 {
			return nil, code
		}
		s.platforms.mu.Lock()
		defer s.platforms.mu.Unlock()
		p := s.platforms.byID[params.Component]
		switch {
		case p == nil:
			return nil, codeInvalidComponent
		case params.Secret != p.Secret:
			return nil, codeInvalidSecret
		case params.Ticket == "" || params.Ticket != p.ticket:
			return nil, codeInvalidTicket
		case now.Sub(p.ticketAt) >= ticketLife:
			return nil, codeTicketExpired
		}
		s.apps.of(p.AppID).tokenCalls.Add(1)
		token := s.tokens.fresh(holder{familyComponent, p.AppID}, now, s.cfg.TokenTTL)
		return granted("component_access_token", token, s.cfg.TokenTTL), 0
	})
}

// authorizerToken answers POST /cgi-bin/component/api_authorizer_token.
func (s *Simulator) authorizerToken(w http.ResponseWriter, r *http.Request) {
	s.granting(w, r, func(now time.Time) ([]byte, int) {
		var params componentParams
		p, code := s.asComponent(r, &params, now)
		if code != 0 {
			return nil, code
		}
		s.platforms.mu.Lock()
		refresh := p.refresh[params.Authorizer]
		s.platforms.mu.Unlock()
		switch {
		case refresh == "":
			return nil, codeNotAuthorised
		case params.Refresh != refresh:
			return nil, codeInvalidRefresh
		}
		return s.grantAuthorizer(params.Authorizer, refresh, now), 0
	})
}

// queryAuth answers POST /cgi-bin/component/api_query_auth.
func (s *Simulator) queryAuth(w http.ResponseWriter, r *http.Request) {
	s.granting(w, r, func(now time.Time) ([]byte, int) {
		var params componentParams
		p, code := s.asComponent(r, &params, now)
		if code != 0 {
			return nil, code
		}
		s.platforms.mu.Lock()
		appID, ok := p.codes[params.Code]
		delete(p.codes, params.Code)
		refresh := p.refresh[appID]
		s.platforms.mu.Unlock()
		if !ok {
			return nil, codeCodeExpired
		}
		inner := s.grantAuthorizer(appID, refresh, now)
		// Replace the closing brace to append another member.
		inner = append(inner[:len(inner)-1], `,"authorizer_appid":`...)
		inner = append(inner, quoted(appID)...)
		answer := append([]byte(`{"authorization_info":`), inner...)
		return append(answer, `,"func_info":[{"funcscope_category":{"id":18}},{"funcscope_category":{"id":49}}]}}`...), 0
	})
}

// grantAuthorizer returns a success answer with an app's access token and refresh token.
func (s *Simulator) grantAuthorizer(appID, refresh string, now time.Time) []byte {
	s.apps.of(appID).tokenCalls.Add(1)
	token := s.tokens.fresh(holder{familyAuthorizer, appID}, now, s.cfg.TokenTTL)
	answer := granted("authorizer_access_token", token, s.cfg.TokenTTL)
	answer = append(answer[:len(answer)-1], `,"authorizer_refresh_token":`...)
	return append(append(answer, quoted(refresh)...), '}')
}

// asComponent parses a call that a platform makes with its own token. Older pages of WeChat's
// documentation call the parameter component_access_token.
func (s *Simulator) asComponent(
	r *http.Request, params *componentParams, now time.Time,
) (*platform, int) {
	token := r.URL.Query().Get(paramAccess)
	if token == "" {
		token = r.URL.Query().Get("component_access_token")
	}
	g, code := s.tokens.check(token, now)
	if code != 0 {
		return nil, code
	}
	if code := readParams(r, params); code != 0 {
		return nil, code
	}
	p := s.platforms.byID[params.Component]
	switch {
	case g.family != familyComponent:
		return nil, codeNeedComponentToken
	case p == nil || g.appID != params.Component:
		return nil, codeInvalidComponent
	}
	return p, 0
}

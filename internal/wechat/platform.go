package wechat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"cloudidq/internal/secret"
)

// Platform is a third-party platform (第三方平台), which makes calls for merchants that have
// authorised it. It shares its state with all processes through [Config.Tokens], sealed under
// its AppSecret: the newest ticket, its own token, and the refresh token and access token of
// each merchant. Only these entries grow with the number of merchants.
//
// The flow is described in
// developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/Before_Develop/creat_token.md.
type Platform struct {
	client *Client
	appID  string
	secret secret.Text
	ticket sealedValue
	tokens *cachedTokens // component_access_token
}

// ticketLife is the lifetime of a component_verify_ticket. WeChat pushes a new one every 10
// minutes.
const ticketLife = 12 * time.Hour

// Platform returns the platform with this appid and AppSecret. It returns an error if the client
// has no [Config.Tokens] or the AppSecret is empty.
func (c *Client) Platform(appID string, appSecret secret.Text) (*Platform, error) {
	if c.tokens == nil {
		return nil, errors.New("a third-party platform needs a cache of tokens: its ticket arrives in one process")
	}
	if appSecret.Empty() {
		return nil, errors.New("a third-party platform needs its AppSecret")
	}
	p := &Platform{
		client: c,
		appID:  appID,
		secret: appSecret,
		ticket: newSealedValue(c.tokens, "ticket:"+appID, appSecret),
	}
	p.tokens = &cachedTokens{
		param:  paramAccessToken,
		pace:   paceOfSource,
		detach: c.detach,
		shared: newSharedTokens(c.tokens, "component:"+appID, appSecret),
		fetch:  c.fetcher(appID, modePlatform, p.fetchToken),
	}
	return p, nil
}

// Check reports whether the platform can make calls at all. It returns nil if the platform's own
// token is available, which requires a ticket. Its error is an *Error, or ctx's error if ctx
// ends first.
func (p *Platform) Check(ctx context.Context) error {
	_, err := p.tokens.Token(ctx)
	return err
}

// ticket is the newest component_verify_ticket, as stored in the cache.
type ticket struct {
	Ticket  string    `json:"ticket"`
	Created time.Time `json:"created"` // CreateTime of the push
}

// StoreTicket stores a component_verify_ticket that WeChat has pushed, unless the cache has a
// newer one. Pushes may arrive twice and out of order.
func (p *Platform) StoreTicket(ctx context.Context, value secret.Text, created time.Time) error {
	return change(ctx, p.ticket, ticketLife, func(old ticket) (ticket, bool) {
		return ticket{Ticket: value.Reveal(), Created: created}, created.After(old.Created)
	})
}

// ErrNoTicket is the Cause of an [Error] if WeChat has not yet pushed a ticket to the platform.
var ErrNoTicket = errors.New("no component_verify_ticket has arrived yet; WeChat pushes one every 10 minutes")

// fetchToken fetches the platform's own token with the newest ticket.
func (p *Platform) fetchToken(ctx context.Context) (grant, *Error) {
	var newest ticket
	if _, err := p.ticket.load(ctx, &newest); err != nil {
		return grant{}, transient(textTokens + "the platform's ticket cannot be read from Redis")
	}
	if newest.Ticket == "" {
		return grant{}, &Error{Class: ClassApp, Message: textTokens + ErrNoTicket.Error(), Cause: ErrNoTicket}
	}
	return p.client.fetchGrant(ctx, tokenRequest{
		method: http.MethodPost,
		to:     *p.client.base.JoinPath("/cgi-bin/component/api_component_token"),
		body: map[string]any{
			"component_appid":         p.appID,
			"component_appsecret":     p.secret.Reveal(),
			"component_verify_ticket": newest.Ticket,
		},
		secrets: []secret.Text{p.secret, secret.New(newest.Ticket)},
		field:   "component_access_token",
	})
}

// call makes a call with the platform's own token. If WeChat refuses the token, call repeats it
// once with a fresh one. sent is the secret in body.
func (p *Platform) call(ctx context.Context, path string, body map[string]any, sent secret.Text) (reply, *Error) {
	body["component_appid"] = p.appID
	for fresh := false; ; fresh = true {
		token, err := p.tokens.Token(ctx)
		if failure, ok := errors.AsType[*Error](err); ok {
			return reply{}, failure
		}
		if err != nil {
			return reply{}, transient(textTokens + interrupted)
		}
		to := *p.client.base.JoinPath("/cgi-bin/component/" + path)
		to.RawQuery = string(appendParam(nil, paramAccessToken, token.Value.Reveal()))
		got, failure := p.client.requestToken(ctx, tokenRequest{
			method: http.MethodPost, to: to, body: body, secrets: []secret.Text{token.Value, sent},
		})
		if failure == nil || fresh || classOfCall(failure.Code) != ClassToken {
			return got, failure
		}
		p.tokens.Reject(ctx, token, failure.Code)
	}
}

// changeAttempts bounds the attempts if processes write the same value concurrently.
const changeAttempts = 5

var errContended = errors.New("other processes keep changing it")

// change replaces a value with the result of next. If next returns false, the old value stays.
// ttl 0 means no expiry.
func change[T any](ctx context.Context, value sealedValue, ttl time.Duration, next func(old T) (T, bool)) error {
	for range changeAttempts {
		var old T
		sealed, err := value.load(ctx, &old)
		if err != nil {
			return err
		}
		wanted, write := next(old)
		if !write {
			return nil
		}
		// If another process has changed the value meanwhile, start over with the new value.
		done, err := value.swap(ctx, sealed, wanted, ttl)
		if err != nil || done {
			return err
		}
	}
	return fmt.Errorf("keeping a platform's credentials: %w", errContended)
}

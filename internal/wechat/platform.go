package wechat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"cloudidq/internal/secret"
)

// Platform is a third-party platform (第三方平台), which calls for merchants who have authorised it. What it knows it
// shares with all processes through [Config.Tokens], sealed under its AppSecret: the newest ticket, its own token, and
// of each merchant the refresh token and the access token. Nothing of it grows with the number of merchants but their
// entries there.
//
// The flow is that of
// https://developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/Before_Develop/creat_token.md.
type Platform struct {
	client *Client
	appID  string
	secret secret.Text
	ticket sealedValue
	tokens *cachedTokens // component_access_token
}

// ticketLife is how long a component_verify_ticket is good; WeChat pushes a new one every 10 minutes.
const ticketLife = 12 * time.Hour

// Platform returns the platform of this appid and AppSecret. It needs a client with a [Config.Tokens].
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

// Check reports whether the platform can act at all: it returns nil once its own token is had, which a ticket is needed
// for. Its error is an *Error, except at the end of ctx.
func (p *Platform) Check(ctx context.Context) error {
	_, err := p.tokens.Token(ctx)
	return err
}

// ticket is the newest component_verify_ticket, as it lies in the cache.
type ticket struct {
	Ticket  string    `json:"ticket"`
	Created time.Time `json:"created"` // CreateTime of the push
}

// TakeTicket keeps a component_verify_ticket that WeChat has pushed, unless a newer one is there: pushes may come twice
// and out of order.
func (p *Platform) TakeTicket(ctx context.Context, value secret.Text, created time.Time) error {
	return change(ctx, p.ticket, ticketLife, func(old ticket) (ticket, bool) {
		return ticket{Ticket: value.Reveal(), Created: created}, created.After(old.Created)
	})
}

// ErrNoTicket is the cause of an [Error] where WeChat has pushed no ticket to a platform yet.
var ErrNoTicket = errors.New("no component_verify_ticket has arrived yet; WeChat pushes one every 10 minutes")

// fetchToken gets the platform's own token with the newest ticket.
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

// call makes a call with the platform's own token, and once more with a fresh one if WeChat refuses that. sent is
// the secret in body.
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
		got, failure := p.client.askForToken(ctx, tokenRequest{
			method: http.MethodPost, to: to, body: body, secrets: []secret.Text{token.Value, sent},
		})
		if failure == nil || fresh || classOfCall(failure.Code) != ClassToken {
			return got, failure
		}
		p.tokens.Reject(ctx, token, failure.Code)
	}
}

// changeTries bounds the repetition when processes write the same value at once.
const changeTries = 5

var errContended = errors.New("other processes keep changing it")

// change replaces a value by what next makes of it, unless next says that the old one is to stay.
func change[T any](ctx context.Context, value sealedValue, ttl time.Duration, next func(old T) (T, bool)) error {
	for range changeTries {
		var old T
		sealed, err := value.load(ctx, &old)
		if err != nil {
			return err
		}
		wanted, write := next(old)
		if !write {
			return nil
		}
		done, err := value.swap(ctx, sealed, wanted, ttl)
		if err != nil || done {
			return err
		}
	}
	return fmt.Errorf("keeping a platform's credentials: %w", errContended)
}

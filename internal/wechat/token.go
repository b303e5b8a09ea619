package wechat

import (
	"context"

	"cloudidq/internal/secret"
)

// Token is a credential as it goes into the query of a call.
type Token struct {
	Param string // "access_token", "cloudbase_access_token" in cloud hosting; empty: no credential, a side-car adds it
	Value secret.Text
	// FromAppID is the app whose user a call is about, where a side-car serves the apps of others too.
	FromAppID string
}

// TokenSource gives the tokens of one app. Implementations are safe for concurrent use and leave no goroutine behind,
// except for a fetch under way, which the client's Close ends.
type TokenSource interface {
	// Token returns a token that is believed to be good, fetching one if need be. Its error is an *Error, except at
	// the end of ctx.
	Token(ctx context.Context) (Token, error)
	// Reject says that WeChat refused t, with this errcode. Only if t is still the current token is it dropped (compare
	// and swap), so that a hundred calls refused for one token lead to one fetch.
	Reject(ctx context.Context, t Token, code int)
}

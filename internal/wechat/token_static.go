package wechat

import (
	"context"

	"cloudidq/internal/secret"
)

// paramAccessToken is the name of the credential in the query of nearly all calls.
const paramAccessToken = "access_token"

// StaticToken returns a source of one fixed token, for manual use and for tests. Something else
// must keep the token valid. The source has no other token, so Reject does nothing.
func StaticToken(value secret.Text) TokenSource {
	return staticToken{Param: paramAccessToken, Value: value}
}

type staticToken Token

// Token implements [TokenSource].
func (t staticToken) Token(context.Context) (Token, error) { return Token(t), nil }

// Reject implements [TokenSource].
func (staticToken) Reject(context.Context, Token, int) {}

package wechat

import (
	"context"

	"cloudidq/internal/secret"
)

// Token is a credential for the query of a call.
type Token struct {
	// Param is "access_token", or "cloudbase_access_token" in cloud hosting. If it is empty, a
	// side-car adds the credential.
	Param string
	Value secret.Text
	// FromAppID is the app whose user the call is about. It is needed if a side-car also serves
	// other apps.
	FromAppID string
}

// TokenSource returns the tokens of one app. Implementations are safe for concurrent use. They
// leave no goroutine behind, except for a fetch in flight, which the client's Close cancels.
type TokenSource interface {
	// Token returns a token that should be valid; it fetches one if necessary. The error is an
	// *Error, or ctx's error if ctx ends first.
	Token(ctx context.Context) (Token, error)
	// Reject reports that WeChat refused t with the given errcode. The source drops t only if t
	// is still its current token. Therefore a hundred calls that are refused with one token
	// cause only one fetch.
	Reject(ctx context.Context, t Token, code int)
}

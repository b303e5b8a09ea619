package wechat

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"cloudidq/internal/secret"
)

// Sidecar returns the source of an app that runs in WeChat's cloud hosting with its open API service switched on: no
// token is sent, a side-car that the call passes adds the credential. fromAppID names the app whose users the cloudIDs
// belong to, where the environment serves the apps of others (资源复用); empty means the app itself.
// https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/guide/weixin/open.html.
func Sidecar(fromAppID string) TokenSource {
	return staticToken{FromAppID: fromAppID}
}

// CloudbaseTokenPath is where cloud hosting puts the token file.
const CloudbaseTokenPath = "/.tencentcloudbase/wx/cloudbase_access_token"

const (
	paramCloudbase = "cloudbase_access_token"

	// The platform renews the file every 10 minutes and its token lives for 30.
	fileRereadAfter = 30 * time.Second
	fileTokenLife   = 20 * time.Minute // of a token whose file is not readable any more
	fileRereadPause = time.Second      // between two readings, when a token was refused or the file is not there
)

// CloudbaseFile returns the source of an app that runs in WeChat's cloud hosting with a token file, which the platform
// renews: the file at path is read again every 30 seconds, and when WeChat has refused its token.
// https://developers.weixin.qq.com/minigame/dev/wxcloud/guide/container/cloudcall.html.
func CloudbaseFile(path string) TokenSource { return &fileTokens{path: path} }

// fileTokens reads a token from a file.
type fileTokens struct {
	path string

	mu      sync.Mutex // guards what follows
	token   Token
	readAt  time.Time // of the last good reading
	nextTry time.Time
	failure *Error // of the last reading
}

// Token implements [TokenSource].
func (s *fileTokens) Token(context.Context) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !now.Before(s.nextTry) {
		s.read(now)
	}
	if s.token.Value.Empty() || now.Sub(s.readAt) > fileTokenLife {
		return Token{}, s.failure
	}
	return s.token, nil
}

// read takes over what the file holds. While it holds nothing the last token stays. Called with mu held.
func (s *fileTokens) read(now time.Time) {
	value, reason := readToken(s.path)
	if reason != "" {
		s.nextTry = now.Add(fileRereadPause)
		s.failure = &Error{Class: ClassApp, Message: "token file: " + reason}
		return
	}
	s.token = Token{Param: paramCloudbase, Value: secret.New(value)}
	s.readAt, s.nextTry, s.failure = now, now.Add(fileRereadAfter), nil
}

// readToken returns the text of a token file, or what is wrong with it.
func readToken(path string) (token, reason string) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "not there; cloud hosting writes it only with cloud call switched on, some time after the start"
	case errors.Is(err, fs.ErrPermission):
		return "", "not readable for this user"
	case err != nil:
		return "", "cannot be opened"
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxTokenAnswer+1))
	text = bytes.TrimSpace(text)
	switch {
	case err != nil:
		return "", "cannot be read"
	case len(text) == 0:
		return "", "empty"
	case len(text) > maxTokenAnswer:
		return "", "too long"
	case bytes.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", "holds more than a token"
	default:
		return string(text), ""
	}
}

// Reject implements [TokenSource]: the file may hold a newer token already.
func (s *fileTokens) Reject(_ context.Context, t Token, _ int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Param == s.token.Param && t.Value.Equal(s.token.Value) {
		s.nextTry = s.readAt.Add(fileRereadPause)
	}
}

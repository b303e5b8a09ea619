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

// Sidecar returns the source of an app that runs in WeChat's cloud hosting with the open API
// service switched on. Calls carry no token; a side-car on their path adds the credential. If
// the environment serves other apps too (资源复用), fromAppID names the app whose users the cloudIDs
// belong to. If fromAppID is empty, it is the environment's own app.
// https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/guide/weixin/open.html.
func Sidecar(fromAppID string) TokenSource {
	return staticToken{FromAppID: fromAppID}
}

// CloudbaseTokenPath is the path of cloud hosting's token file.
const CloudbaseTokenPath = "/.tencentcloudbase/wx/cloudbase_access_token"

const (
	paramCloudbase = "cloudbase_access_token"

	// The platform renews the file every 10 minutes. Its token lives for 30 minutes.
	fileRereadAfter = 30 * time.Second
	fileTokenLife   = 20 * time.Minute // maximum use of a token after the file has become unreadable
	fileRereadPause = time.Second      // between two reads, if a token was refused or the file is missing
)

// CloudbaseFile returns the source of an app that runs in WeChat's cloud hosting with a token
// file, which the platform renews. The source reads the file at path every 30 seconds, and again
// if WeChat refuses the token.
// https://developers.weixin.qq.com/minigame/dev/wxcloud/guide/container/cloudcall.html.
func CloudbaseFile(path string) TokenSource { return &fileTokens{path: path} }

// fileTokens reads a token from a file.
type fileTokens struct {
	path string

	mu       sync.Mutex // guards the fields below
	token    Token
	readAt   time.Time // time of the last successful read
	nextRead time.Time
	failure  *Error // error of the last read
}

// Token implements [TokenSource].
func (s *fileTokens) Token(context.Context) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !now.Before(s.nextRead) {
		s.readLocked(now)
	}
	if s.token.Value.Empty() || now.Sub(s.readAt) > fileTokenLife {
		return Token{}, s.failure
	}
	return s.token, nil
}

// readLocked stores the token of the file. If the file has no token, the last one stays.
func (s *fileTokens) readLocked(now time.Time) {
	value, reason := readToken(s.path)
	if reason != "" {
		s.nextRead = now.Add(fileRereadPause)
		s.failure = &Error{Class: ClassApp, Message: "token file: " + reason}
		return
	}
	s.token = Token{Param: paramCloudbase, Value: secret.New(value)}
	s.readAt, s.nextRead, s.failure = now, now.Add(fileRereadAfter), nil
}

// readToken returns the text of a token file, or the reason why there is none.
func readToken(path string) (token, reason string) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "not found; cloud hosting writes it some time after the start, if cloud call is on"
	case errors.Is(err, fs.ErrPermission):
		return "", "not readable for this user"
	case err != nil:
		return "", "cannot be opened"
	}
	defer func() { _ = f.Close() }() // the file is only read, so an error of Close has no effect
	// The limit is one byte more, so that a file that is too long is detected.
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
		return "", "contains more than a token"
	default:
		return string(text), ""
	}
}

// Reject implements [TokenSource]. It makes the next call read the file, which may already hold
// a newer token.
func (s *fileTokens) Reject(_ context.Context, t Token, _ int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Param == s.token.Param && t.Value.Equal(s.token.Value) {
		s.nextRead = s.readAt.Add(fileRereadPause)
	}
}

package wechattest

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1" // WeChat signs with SHA-1
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Events for [Simulator.Push]. All except PushTicket have WeChat's InfoType as value.
const (
	PushTicket           = "ticket"
	PushAuthorized       = "authorized"
	PushUpdateAuthorized = "updateauthorized"
	PushUnauthorized     = "unauthorized"
)

// Push performs an event of a component, for an app if the event concerns one, and pushes it to
// the platform at address as WeChat does. It returns an error unless the platform answers
// "success".
func (s *Simulator) Push(ctx context.Context, component, event, appID, address string) error {
	document, err := s.performEvent(component, event, appID)
	if err != nil {
		return err
	}
	query, body, err := s.Seal(component, document)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("pushing: %w", err)
	}
	request.Header.Set("Content-Type", "text/xml")
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("pushing: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
	if err != nil || answer.StatusCode != http.StatusOK || string(text) != "success" {
		return fmt.Errorf("the platform answered %d %q, want success", answer.StatusCode, text)
	}
	return nil
}

// performEvent performs an event and returns the document that reports it.
func (s *Simulator) performEvent(component, event, appID string) (string, error) {
	created := strconv.FormatInt(s.cfg.Now().Unix(), 10)
	head := "<xml><AppId><![CDATA[" + component + "]]></AppId><CreateTime>" + created + "</CreateTime>"
	if event != PushTicket && appID == "" {
		return "", errors.New("appid is missing")
	}
	switch event {
	case PushTicket:
		ticket, err := s.Ticket(component)
		return head + "<InfoType><![CDATA[component_verify_ticket]]></InfoType><ComponentVerifyTicket><![CDATA[" + ticket +
			"]]></ComponentVerifyTicket></xml>", err
	case PushAuthorized, PushUpdateAuthorized:
		code, _, err := s.Authorize(component, appID)
		return head + "<InfoType><![CDATA[" + event + "]]></InfoType><AuthorizerAppid><![CDATA[" + appID +
			"]]></AuthorizerAppid><AuthorizationCode><![CDATA[" + code + "]]></AuthorizationCode>" +
			"<AuthorizationCodeExpiredTime>" + created + "</AuthorizationCodeExpiredTime>" +
			"<PreAuthCode><![CDATA[preauth]]></PreAuthCode></xml>", err
	case PushUnauthorized:
		return head + "<InfoType><![CDATA[unauthorized]]></InfoType><AuthorizerAppid><![CDATA[" + appID +
			"]]></AuthorizerAppid></xml>", s.Unauthorize(component, appID)
	default:
		return "", fmt.Errorf("event %q is unknown", event)
	}
}

// Seal encrypts and signs a document for a component. The encryption is AES-256 in CBC mode over
// 16 random bytes, the document's length, the document and the component's appid. The source is
// page oplatform/Third-party_Platforms/2.0/Before_Develop/Technical_Plan.html of
// developers.weixin.qq.com/doc.
func (s *Simulator) Seal(component, document string) (url.Values, []byte, error) {
	s.platforms.mu.Lock()
	p := s.platforms.byID[component]
	s.platforms.mu.Unlock()
	if p == nil {
		return nil, nil, fmt.Errorf("component %q is unknown", component)
	}
	key, err := base64.StdEncoding.DecodeString(p.AESKey + "=")
	if err != nil {
		return nil, nil, errors.New("the component's AESKey is not base64")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, fmt.Errorf("the component's AESKey: %w", err)
	}
	text := make([]byte, 16)
	_, _ = rand.Read(text) // Read never returns an error
	text = binary.BigEndian.AppendUint32(text, uint32(len(document)))
	text = append(append(text, document...), component...)
	// WeChat pads to 32 bytes, twice the block size of AES.
	pad := 32 - len(text)%32
	text = append(text, bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, key[:aes.BlockSize]).CryptBlocks(text, text)
	encrypted := base64.StdEncoding.EncodeToString(text)

	// WeChat signs timestamp, nonce and encrypted text together with the token.
	timestamp, nonce := strconv.FormatInt(s.cfg.Now().Unix(), 10), strconv.FormatInt(time.Now().UnixNano(), 36)
	parts := []string{p.VerifyToken, timestamp, nonce, encrypted}
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, "")))
	query := url.Values{
		"timestamp": {timestamp}, "nonce": {nonce}, "encrypt_type": {"aes"}, "msg_signature": {hex.EncodeToString(sum[:])},
	}
	body := "<xml><AppId><![CDATA[" + component + "]]></AppId><Encrypt><![CDATA[" + encrypted + "]]></Encrypt></xml>"
	return query, []byte(body), nil
}

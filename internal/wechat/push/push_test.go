package push_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat/push"
)

const (
	component = "wxcomponent00000001"
	aesKey    = "ral5WFnchimotHtwtDo3n3UDc56aATJQMDrOTrXCHB8"
	verify    = "verify-token"
)

var pushedAt = time.Unix(1_700_000_000, 0)

func codec(tb testing.TB) *push.Codec {
	tb.Helper()
	c, err := push.NewCodec(push.Config{AppID: component, VerifyToken: secret.New(verify), AESKey: secret.New(aesKey)})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// document returns an event in the form that WeChat sends.
func document(fields string) string {
	return "<xml><AppId><![CDATA[" + component + "]]></AppId><CreateTime>1700000000</CreateTime>" + fields + "</xml>"
}

const ticketFields = "<InfoType><![CDATA[component_verify_ticket]]></InfoType>" +
	"<ComponentVerifyTicket><![CDATA[ticket@@@planted]]></ComponentVerifyTicket>"

func envelope(encrypted string) []byte {
	return []byte("<xml><AppId><![CDATA[" + component + "]]></AppId><Encrypt><![CDATA[" + encrypted + "]]></Encrypt></xml>")
}

// pushed returns the query and body of a push with document, signed at pushedAt.
func pushed(c *push.Codec, document string) (url.Values, []byte) {
	encrypted := c.Encrypt(document, component)
	return c.Sign(encrypted, "1700000000", "nonce"), envelope(encrypted)
}

// These values were made with openssl and not with this package. KEY is the hex form of the key in
// aesKey, and IV is its first half. plain.bin consists of 16 letters, the length in 4 bytes, the
// document of the test below, the appid, and PKCS#7 padding to 32 bytes:
//
//	openssl enc -aes-256-cbc -nopad -K $KEY -iv $IV -in plain.bin | base64 -w0
//	printf '%s\n' verify-token 1700000000 nonce4711 $ENC | LC_ALL=C sort | tr -d '\n' | openssl dgst -sha1
const (
	goldenEncrypt = "yKqlYlZQaOES/QatrhRR39wsad8eT9olmSNIs/s6sBhvUuZ8lZgXsSipL7WgIAV1eju5prDLaTZ9Ukmm5EDpfyT82hMDfAYTI6gMGkXgWL5CYY" +
		"XM5T3/LPGuPd5mIinWWryEXJ29leoxuzKRQC1GgRaecDtaiHV7/Q6kvQ3E7fBy9FLmLdlGZXl9yY+8AbFudcIR0UF/y2fEsY1uiowzLZnPowCI" +
		"A5Pwgy2KkPRoyEdKsuckyKMAkE3dDBV8Ay+TEv/f42byApe8jNvUipS+C5IMLemmaQm46i2ShqP6rs/gA9V+u9M//oIIGjhcQ2kDuKG36JCGZA" +
		"2rzvZ5D9OFhvyG26tPyZ52gqYK4qn/keUugODeCuNH7wTt2nu75VNK"
	goldenSignature = "5de2237ab24c11d17b34812f7df7f0c80c0ff342"
)

func TestOpen_Golden(t *testing.T) {
	query := url.Values{"signature": {"of the older kind, ignored"}, "timestamp": {"1700000000"},
		"nonce":        {"nonce4711"},
		"encrypt_type": {"aes"}, "msg_signature": {goldenSignature}}
	got, err := codec(t).Open(query, envelope(goldenEncrypt), pushedAt)
	if err != nil {
		t.Fatal(err)
	}
	if got.Ticket.Reveal() != "ticket@@@golden-0123456789" || got.Type != push.Ticket || !got.CreatedAt.Equal(pushedAt) {
		t.Errorf("Open = %s %s at %s, want the ticket", got.Type, got.Ticket.Reveal(), got.CreatedAt)
	}
}

func TestOpen_Types(t *testing.T) {
	authorized := "<AuthorizerAppid>wxmerchant</AuthorizerAppid><AuthorizationCode>code</AuthorizationCode>" +
		"<AuthorizationCodeExpiredTime>1700003600</AuthorizationCodeExpiredTime><PreAuthCode>pre</PreAuthCode>"
	for fields, want := range map[string]push.Event{
		ticketFields: {Type: push.Ticket, Ticket: secret.New("ticket@@@planted")},
		"<InfoType>authorized</InfoType>" + authorized:                                            {Type: push.Authorized, Authorizer: "wxmerchant", Code: secret.New("code")},
		"<InfoType>updateauthorized</InfoType>" + authorized:                                      {Type: push.UpdateAuthorized, Authorizer: "wxmerchant", Code: secret.New("code")},
		"<InfoType>unauthorized</InfoType><AuthorizerAppid>wxmerchant</AuthorizerAppid>":          {Type: push.Unauthorized, Authorizer: "wxmerchant"},
		"<InfoType>notify_third_fasteregister</InfoType><appid>wxother</appid><status>0</status>": {Type: push.Other},
		"<MsgType>event</MsgType>":                                                                {Type: push.Other},
	} {
		c := codec(t)
		query, body := pushed(c, document(fields))
		got, err := c.Open(query, body, pushedAt)
		if err != nil {
			t.Errorf("Open(%s) = %v", fields, err)
			continue
		}
		want.CreatedAt = pushedAt.UTC()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Open(%s) (-want +got):\n%s", fields, diff)
		}
	}
}

// Each invalid push has its kind of error. No error repeats a part of the push.
func TestOpen_InvalidPushes(t *testing.T) {
	c := codec(t)
	good := c.Encrypt(document(ticketFields), component)
	goodQuery := c.Sign(good, "1700000000", "nonce")
	without := func(key string) url.Values {
		q := url.Values{}
		for k, v := range goodQuery {
			q[k] = v
		}
		q.Del(key)
		return q
	}
	with := func(key, value string) url.Values { q := without(key); q.Set(key, value); return q }
	signed := func(encrypted string) (url.Values, []byte) {
		return c.Sign(encrypted, "1700000000", "nonce"), envelope(encrypted)
	}
	type request struct {
		query url.Values
		body  []byte
	}
	from := func(q url.Values, b []byte) request { return request{q, b} }
	inside := func(text string) request { return from(pushed(c, text)) }
	block := func(text string) request { return from(signed(c.EncryptRaw([]byte(text)))) }
	header := "0123456789abcdef\x00\x00\x00\x05"

	for name, tt := range map[string]struct {
		request
		want error
	}{
		"SignatureMissing": {from(without("msg_signature"), envelope(good)), push.ErrSignature},
		"SignatureNotHex": {from(with("msg_signature", "planted"), envelope(good)),
			push.ErrSignature},
		"SignatureWrong":   {from(with("msg_signature", strings.Repeat("0", 40)), envelope(good)), push.ErrSignature},
		"SignatureShort":   {from(with("msg_signature", goodQuery.Get("msg_signature")[:38]), envelope(good)), push.ErrSignature},
		"NonceChanged":     {from(with("nonce", "planted"), envelope(good)), push.ErrSignature},
		"TimestampChanged": {from(with("timestamp", "1700000001"), envelope(good)), push.ErrSignature},
		"ContentChanged":   {from(goodQuery, envelope("A"+good[1:])), push.ErrSignature},
		"OnlyOldSignature": {from(url.Values{"signature": goodQuery["msg_signature"],
			"timestamp": {"1700000000"}, "nonce": {"nonce"}}, envelope(good)), push.ErrSignature},
		"EncryptEmpty": {from(signed("")), push.ErrSignature},
		"TimestampNotNumber": {from(c.Sign(good, "planted", "nonce"), envelope(good)),
			push.ErrMalformed},
		"TimestampOld":    {from(c.Sign(good, "1699999399", "nonce"), envelope(good)), push.ErrStale},
		"TimestampNew":    {from(c.Sign(good, "1700000601", "nonce"), envelope(good)), push.ErrStale},
		"NotXML":          {from(goodQuery, []byte("planted")), push.ErrMalformed},
		"Empty":           {from(goodQuery, nil), push.ErrMalformed},
		"JSON":            {from(goodQuery, []byte(`{"Encrypt":"planted"}`)), push.ErrMalformed},
		"OtherRoot":       {from(goodQuery, []byte("<html><Encrypt>"+good+"</Encrypt></html>")), push.ErrMalformed},
		"Truncated":       {from(goodQuery, envelope(good)[:len(good)]), push.ErrMalformed},
		"TwoDocuments":    {from(goodQuery, append(envelope(good), envelope(good)...)), push.ErrMalformed},
		"Doctype":         {from(goodQuery, append([]byte(`<!DOCTYPE xml [<!ENTITY e "planted">]>`), envelope(good)...)), push.ErrMalformed},
		"Entity":          {from(goodQuery, []byte("<xml><Encrypt>&e;</Encrypt></xml>")), push.ErrMalformed},
		"TooLarge":        {from(goodQuery, envelope(strings.Repeat("A", push.MaxBytes))), push.ErrMalformed},
		"NotBase64":       {from(signed("planted!")), push.ErrMalformed},
		"IncompleteBlock": {from(signed("AAAA")), push.ErrMalformed},
		"PaddingZero":     {block(strings.Repeat("\x00", 32)), push.ErrMalformed},
		"PaddingTooLong":  {block(strings.Repeat("\x21", 64)), push.ErrMalformed},
		"PaddingUneven":   {block(header + "hello" + component[:4] + "\x01\x03\x03"), push.ErrMalformed},
		"OnlyPadding":     {block(strings.Repeat("\x20", 32)), push.ErrMalformed},
		"LengthTooLarge": {block("0123456789abcdef\xff\xff\xff\xff12345678\x04\x04\x04\x04"),
			push.ErrMalformed},
		"ForAnotherPlatform": {from(signed(c.Encrypt(document(ticketFields), "wxcomponent00000002"))), push.ErrMalformed},
		"NoAppID":            {from(signed(c.Encrypt(document(ticketFields), ""))), push.ErrMalformed},
		"DocumentNotXML":     {inside("planted"), push.ErrMalformed},
		"DocumentForOtherApp": {inside(strings.Replace(document(ticketFields), component, "wxplanted",
			1)), push.ErrMalformed},
		"NoCreateTime":       {inside("<xml>" + ticketFields + "</xml>"), push.ErrMalformed},
		"CreateTimeNegative": {inside(strings.Replace(document(ticketFields), "1700000000", "-1", 1)), push.ErrMalformed},
		"CreateTimeHuge":     {inside(strings.Replace(document(ticketFields), "1700000000", "253402300800", 1)), push.ErrMalformed},
		"NoTicket":           {inside(document("<InfoType>component_verify_ticket</InfoType>")), push.ErrMalformed},
		"NoCode":             {inside(document("<InfoType>authorized</InfoType><AuthorizerAppid>wx</AuthorizerAppid>")), push.ErrMalformed},
		"NoAuthorizer":       {inside(document("<InfoType>unauthorized</InfoType>")), push.ErrMalformed},
		"AuthorizerInvalid": {inside(
			document("<InfoType>unauthorized</InfoType><AuthorizerAppid>wx planted</AuthorizerAppid>")),
			push.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.Open(tt.query, tt.body, pushedAt)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Open = %+v, %v, want %v", got, err, tt.want)
			}
			if strings.Contains(err.Error(), "planted") {
				t.Errorf("the error repeats a part of the push: %v", err)
			}
			if diff := cmp.Diff(push.Event{}, got); diff != "" {
				t.Errorf("event returned with an error (-want +got):\n%s", diff)
			}
		})
	}
}

// If decryption errors differed, a forger could use them to decrypt a push byte by byte.
func TestOpen_DecryptionErrorsAreEqual(t *testing.T) {
	c := codec(t)
	texts := map[string]bool{}
	for _, encrypted := range []string{
		"!", "AAAA", c.EncryptRaw(make([]byte, 32)), c.EncryptRaw([]byte(strings.Repeat("\x20", 32))),
		c.Encrypt(document(ticketFields), "wxother"),
	} {
		_, err := c.Open(c.Sign(encrypted, "1700000000", "n"), envelope(encrypted), pushedAt)
		texts[fmt.Sprint(err)] = true
	}
	if len(texts) != 1 {
		t.Errorf("%d different errors, want one: %v", len(texts), texts)
	}
}

func TestOpen_TimestampBounds(t *testing.T) {
	c := codec(t)
	query, body := pushed(c, document(ticketFields))
	for offset, want := range map[time.Duration]error{
		-10 * time.Minute: nil, 10 * time.Minute: nil, -10*time.Minute - time.Second: push.ErrStale, 10*time.Minute + time.Second: push.ErrStale,
	} {
		if _, err := c.Open(query, body, pushedAt.Add(offset)); !errors.Is(err, want) {
			t.Errorf("Open %s after the push = %v, want %v", offset, err, want)
		}
	}
}

func TestOpen_DecryptsAnyDocument(t *testing.T) {
	c := codec(t)
	rapid.Check(t, func(t *rapid.T) {
		ticket := rapid.StringMatching(`[!-;=-~]{1,300}`).Filter(func(s string) bool { return !strings.ContainsAny(s, "&]") }).Draw(t, "ticket")
		query, body := pushed(c, document(strings.Replace(ticketFields, "ticket@@@planted", ticket, 1)))
		got, err := c.Open(query, body, pushedAt)
		if err != nil || got.Ticket.Reveal() != ticket {
			t.Fatalf("Open = %q, %v, want %q", got.Ticket.Reveal(), err, ticket)
		}
	})
}

func TestNewCodec_ReportsAllErrors(t *testing.T) {
	_, err := push.NewCodec(push.Config{AESKey: secret.New("planted")})
	for _, field := range []string{"AppID", "VerifyToken", "AESKey"} {
		if err == nil || !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), "planted") {
			t.Errorf("NewCodec = %v, want an error that names %s without the value", err, field)
		}
	}
	// The unused bits of the last character may have any value.
	for _, last := range []string{"8", "9", "_"} {
		_, err := push.NewCodec(push.Config{AppID: component, VerifyToken: secret.New(verify), AESKey: secret.New(aesKey[:42] + last)})
		if (err == nil) != (last != "_") {
			t.Errorf("NewCodec(…%s) = %v", last, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	c := codec(f)
	_, body := pushed(c, document(ticketFields))
	f.Add("1700000000", body, []byte(document(ticketFields)), true)
	f.Add("", []byte("<xml><Encrypt></Encrypt></xml>"), []byte(strings.Repeat("\x20", 64)), false)
	f.Add("1700000000", []byte("<!DOCTYPE x><xml>"), []byte("0123456789abcdef\xff\xff\xff\xff"), false)
	f.Fuzz(func(t *testing.T, timestamp string, body, inside []byte, wrap bool) {
		// An unsigned push.
		if _, err := c.Open(url.Values{"timestamp": {timestamp}, "msg_signature": {"00"}}, body, pushedAt); err == nil {
			t.Error("Open accepted an unsigned push")
		}
		// A signed push with arbitrary content. It must not cause a panic.
		encrypted := c.EncryptRaw(inside)
		if wrap {
			encrypted = c.Encrypt(string(inside), component)
		}
		_, err := c.Open(c.Sign(encrypted, "1700000000", "n"), envelope(encrypted), pushedAt)
		if err != nil && !errors.Is(err, push.ErrMalformed) && !errors.Is(err, push.ErrSignature) {
			t.Errorf("Open = %v, want ErrMalformed or ErrSignature", err)
		}
	})
}

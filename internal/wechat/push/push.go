// Package push opens what WeChat pushes to the events address of a third-party platform: tickets, and the news that a
// merchant has authorised the platform or does no more.
//
// A push is an XML document, encrypted, and signed with a token that the platform's console and the configuration have
// in common. [Codec.Open] believes nothing before the signature holds.
// https://developers.weixin.qq.com/doc/oplatform/Third-party_Platforms/2.0/Before_Develop/Technical_Plan.html.
package push

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cloudidq/internal/secret"
	"cloudidq/tasks"
)

// Type is what a push is about.
type Type uint8

// The types of a push.
const (
	Other            Type = iota // nothing that concerns the exchange of cloudIDs
	Ticket                       // a new component_verify_ticket
	Authorized                   // a merchant has authorised the platform
	UpdateAuthorized             // a merchant has changed what is authorised, or authorised anew
	Unauthorized                 // a merchant has withdrawn
)

// String returns WeChat's word for the type (its InfoType); "other" for one that is not read here.
func (t Type) String() string {
	for word, known := range types {
		if known == t {
			return word
		}
	}
	return "other"
}

var types = map[string]Type{
	"component_verify_ticket": Ticket,
	"authorized":              Authorized,
	"updateauthorized":        UpdateAuthorized,
	"unauthorized":            Unauthorized,
}

// Event is a push that was opened.
type Event struct {
	Type       Type
	CreatedAt  time.Time   // by WeChat's clock, in whole seconds; orders the pushes about one matter
	Ticket     secret.Text // of a Ticket
	Authorizer string      // the merchant's appid, of the other types
	Code       secret.Text // authorization code, of Authorized and UpdateAuthorized; works once
}

// Why a push is not believed. Nothing of it is repeated.
var (
	ErrSignature = errors.New("the push is not signed with the platform's token")
	ErrStale     = errors.New("the push is older, or newer, than 10 minutes")
	ErrMalformed = errors.New("the push cannot be read")
)

const (
	// MaxBytes is the size of a push at most; a ticket's takes about 1 KiB.
	MaxBytes = 64 << 10
	// maxAge keeps a push that somebody has recorded from being played to us again later. Within it, CreatedAt tells
	// which one is newer.
	maxAge = 10 * time.Minute
)

// envelope is the outer document. The events of messages name the receiver ToUserName instead of AppId.
type envelope struct {
	AppID      string `xml:"AppId"`
	ToUserName string `xml:"ToUserName"`
	Encrypt    string `xml:"Encrypt"`
}

// notice is the document inside.
type notice struct {
	AppID      string `xml:"AppId"`
	CreateTime string `xml:"CreateTime"`
	InfoType   string `xml:"InfoType"`
	Ticket     string `xml:"ComponentVerifyTicket"`
	Authorizer string `xml:"AuthorizerAppid"`
	Code       string `xml:"AuthorizationCode"`
}

// Open checks and reads a push: query and body of the request, at the time now. Its errors are [ErrSignature],
// [ErrStale] and [ErrMalformed]; a decryption fault has always the same text, so that it tells a forger nothing.
func (c *Codec) Open(query url.Values, body []byte, now time.Time) (Event, error) {
	if len(body) > MaxBytes {
		return Event{}, fmt.Errorf("%w: more than %d bytes", ErrMalformed, MaxBytes)
	}
	var outer envelope
	if err := readXML(body, &outer); err != nil {
		return Event{}, fmt.Errorf("%w: not the XML of a push", ErrMalformed)
	}
	if !c.signed(query, outer.Encrypt) {
		return Event{}, ErrSignature
	}
	if err := fresh(query.Get("timestamp"), now); err != nil {
		return Event{}, err
	}
	text, err := c.decrypt(outer.Encrypt)
	if err != nil {
		return Event{}, err
	}
	return c.read(text)
}

// fresh holds the signed timestamp against the clock.
func fresh(timestamp string, now time.Time) error {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: its timestamp is no number", ErrMalformed)
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > maxAge || age < -maxAge {
		return ErrStale
	}
	return nil
}

// read makes an event of the document inside.
func (c *Codec) read(text []byte) (Event, error) {
	var n notice
	if err := readXML(text, &n); err != nil {
		return Event{}, fmt.Errorf("%w: not the XML of an event", ErrMalformed)
	}
	if n.AppID != "" && n.AppID != c.appID { // absent from messages
		return Event{}, fmt.Errorf("%w: it is for another platform", ErrMalformed)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(n.CreateTime), 10, 64)
	if err != nil || seconds < 0 || seconds > maxSeconds {
		return Event{}, fmt.Errorf("%w: its CreateTime is no time", ErrMalformed)
	}
	e := Event{
		Type: types[n.InfoType], CreatedAt: time.Unix(seconds, 0).UTC(),
		Ticket: secret.New(n.Ticket), Authorizer: n.Authorizer, Code: secret.New(n.Code),
	}
	switch {
	case e.Type == Ticket && e.Ticket.Empty():
		return Event{}, fmt.Errorf("%w: it holds no ticket", ErrMalformed)
	case (e.Type == Authorized || e.Type == UpdateAuthorized) && e.Code.Empty():
		return Event{}, fmt.Errorf("%w: it holds no authorization code", ErrMalformed)
	case e.Type > Ticket && !tasks.ValidAppID(e.Authorizer):
		return Event{}, fmt.Errorf("%w: it names no app", ErrMalformed)
	}
	return e, nil
}

// maxSeconds is the end of the year 9999, beyond which a time has no form in JSON.
const maxSeconds = 253402300799

// readXML reads one document <xml>…</xml> and nothing behind it. Directives, such as DOCTYPE with its entities, are
// refused.
func readXML(text []byte, to any) error {
	d := xml.NewDecoder(strings.NewReader(string(text)))
	start, err := root(d)
	if err != nil {
		return err
	}
	if err := d.DecodeElement(to, &start); err != nil {
		return err
	}
	if _, err := root(d); err == nil {
		return errors.New("a second document")
	}
	return nil
}

// root returns the next element's start, and an error for anything but blanks before it.
func root(d *xml.Decoder) (xml.StartElement, error) {
	for {
		token, err := d.Token()
		if err != nil {
			return xml.StartElement{}, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local != "xml" {
				return token, errors.New("not <xml>")
			}
			return token, nil
		case xml.CharData:
			if strings.TrimSpace(string(token)) != "" {
				return xml.StartElement{}, errors.New("text before the document")
			}
		case xml.ProcInst, xml.Comment:
		default:
			return xml.StartElement{}, errors.New("a directive")
		}
	}
}

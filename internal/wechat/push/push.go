// Package push opens WeChat's pushes to the events address of a third-party platform. A push
// contains a ticket, or reports that a merchant has authorised the platform or has changed or
// withdrawn the authorization.
//
// A push is an encrypted XML document. It is signed with a token that the platform's console and
// the configuration share. [Codec.Open] trusts nothing before it has verified the signature.
// The source is page oplatform/Third-party_Platforms/2.0/Before_Develop/Technical_Plan.html of
// https://developers.weixin.qq.com/doc/.
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

// Type is the type of a push.
type Type uint8

// The types of a push.
const (
	Other            Type = iota // does not concern the exchange of cloudIDs
	Ticket                       // a new component_verify_ticket
	Authorized                   // a merchant has authorised the platform
	UpdateAuthorized             // a merchant has changed or renewed the authorization
	Unauthorized                 // a merchant has withdrawn the authorization
)

// String returns WeChat's name of the type (its InfoType), or "other" for a type that this
// package ignores.
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

// Event is an opened push.
type Event struct {
	Type       Type
	CreatedAt  time.Time   // by WeChat's clock, in whole seconds; orders the pushes about one subject
	Ticket     secret.Text // set for Ticket
	Authorizer string      // the merchant's appid, set for the other types
	Code       secret.Text // authorization code, set for Authorized and UpdateAuthorized; works once
}

// The reasons to reject a push. Their texts repeat nothing of the push.
var (
	ErrSignature = errors.New("the push is not signed with the platform's token")
	ErrStale     = errors.New("the timestamp of the push is more than 10 minutes off")
	ErrMalformed = errors.New("the push cannot be read")
)

const (
	// MaxBytes is the maximum size of a push. A push with a ticket takes about 1 KiB.
	MaxBytes = 64 << 10
	// maxAge limits how long a recorded push can be replayed. Within maxAge, CreatedAt shows
	// which of two pushes is newer.
	maxAge = 10 * time.Minute
)

// envelope is the outer document. Message events name the receiver ToUserName instead of AppId.
type envelope struct {
	AppID      string `xml:"AppId"`
	ToUserName string `xml:"ToUserName"`
	Encrypt    string `xml:"Encrypt"`
}

// notice is the document inside the envelope.
type notice struct {
	AppID      string `xml:"AppId"`
	CreateTime string `xml:"CreateTime"`
	InfoType   string `xml:"InfoType"`
	Ticket     string `xml:"ComponentVerifyTicket"`
	Authorizer string `xml:"AuthorizerAppid"`
	Code       string `xml:"AuthorizationCode"`
}

// Open verifies and parses a push: the query and body of the request, received at the time now.
// Its errors are [ErrSignature], [ErrStale] and [ErrMalformed]. Every decryption error has the
// same text, so that it gives a forger no information.
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
	// The timestamp is part of the signature, so it can be trusted from here on.
	if err := fresh(query.Get("timestamp"), now); err != nil {
		return Event{}, err
	}
	text, err := c.decrypt(outer.Encrypt)
	if err != nil {
		return Event{}, err
	}
	return c.parseEvent(text)
}

// fresh compares the signed timestamp with the clock.
func fresh(timestamp string, now time.Time) error {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: its timestamp is not a number", ErrMalformed)
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > maxAge || age < -maxAge {
		return ErrStale
	}
	return nil
}

// parseEvent converts the document inside to an event.
func (c *Codec) parseEvent(text []byte) (Event, error) {
	var n notice
	if err := readXML(text, &n); err != nil {
		return Event{}, fmt.Errorf("%w: not the XML of an event", ErrMalformed)
	}
	if n.AppID != "" && n.AppID != c.appID { // messages have no AppId
		return Event{}, fmt.Errorf("%w: it is for another platform", ErrMalformed)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(n.CreateTime), 10, 64)
	if err != nil || seconds < 0 || seconds > maxSeconds {
		return Event{}, fmt.Errorf("%w: its CreateTime is not a valid time", ErrMalformed)
	}
	e := Event{
		Type: types[n.InfoType], CreatedAt: time.Unix(seconds, 0).UTC(),
		Ticket: secret.New(n.Ticket), Authorizer: n.Authorizer, Code: secret.New(n.Code),
	}
	switch {
	case e.Type == Ticket && e.Ticket.Empty():
		return Event{}, fmt.Errorf("%w: it contains no ticket", ErrMalformed)
	case (e.Type == Authorized || e.Type == UpdateAuthorized) && e.Code.Empty():
		return Event{}, fmt.Errorf("%w: it contains no authorization code", ErrMalformed)
	case e.Type > Ticket && !tasks.ValidAppID(e.Authorizer):
		return Event{}, fmt.Errorf("%w: it contains no valid appid", ErrMalformed)
	}
	return e, nil
}

// maxSeconds is the end of the year 9999. time.Time.MarshalJSON rejects a later time.
const maxSeconds = 253402300799

// readXML parses one document <xml>…</xml>. A second document is an error, and so is a directive
// before the document, such as a DOCTYPE with entities.
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

// root returns the start of the next element. Anything before it except whitespace, comments and
// processing instructions is an error.
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

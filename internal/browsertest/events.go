package browsertest

import (
	"encoding/json"
	"strings"
)

// object is a JavaScript value.
type object struct {
	Value       json.RawMessage
	Description string
}

// exception is an uncaught JavaScript exception.
type exception struct {
	Text      string
	Exception object
}

// String implements [fmt.Stringer].
func (e exception) String() string { return strings.TrimSpace(e.Text + " " + e.Exception.Description) }

// event holds the fields of all handled events.
type event struct {
	Request struct{ URL string } // Network.requestWillBeSent

	RequestID string // Fetch.…

	ExceptionDetails exception // Runtime.exceptionThrown

	Type string   // Runtime.consoleAPICalled
	Args []object // likewise

	Entry struct{ Source, Level, Text, URL string } // Log.entryAdded

	LoaderID string // Page.lifecycleEvent
	Name     string // likewise
}

// handlers maps each handled event to its handler. Other events are ignored.
var handlers = map[string]func(p *Page, e event){
	"Fetch.requestPaused": func(p *Page, e event) {
		p.reply("Fetch.continueRequest", params{"requestId": e.RequestID})
	},
	"Fetch.authRequired": func(p *Page, e event) {
		p.reply("Fetch.continueWithAuth", params{"requestId": e.RequestID, "authChallengeResponse": params{
			"response": "ProvideCredentials", "username": "anybody", "password": p.key,
		}})
	},
	"Runtime.exceptionThrown": func(p *Page, e event) { p.fault("exception: %s", e.ExceptionDetails) },
	"Runtime.consoleAPICalled": func(p *Page, e event) {
		if e.Type == "error" || e.Type == "assert" {
			var texts []string
			for _, arg := range e.Args {
				texts = append(texts, string(arg.Value)+arg.Description)
			}
			p.fault("console: %s", strings.Join(texts, " "))
		}
	},
	"Log.entryAdded": func(p *Page, e event) {
		if e.Entry.Level == "error" {
			p.fault("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	},
	"Network.requestWillBeSent": func(p *Page, e event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.urls = append(p.urls, e.Request.URL)
	},
	"Page.lifecycleEvent": func(p *Page, e event) {
		if e.Name == "load" {
			p.loaded(e.LoaderID)
		}
	},
}

// handle handles an event of the browser. It must not block.
func (p *Page) handle(m message) {
	f := handlers[m.Method]
	if f == nil {
		return
	}
	var e event
	if err := json.Unmarshal(m.Params, &e); err != nil {
		p.fault("%s: %v", m.Method, err)
		return
	}
	f(p, e)
}

// loaded records that a loader has loaded its document.
func (p *Page) loaded(loader string) {
	done := p.load(loader)
	select {
	case <-done: // already loaded
	default:
		close(done)
	}
}

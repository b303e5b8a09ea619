package status

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/text/language"

	"cloudidq/store"
)

//go:embed page/page.html
var pageHTML string

//go:embed page/page.css page/page.js page/icon.svg
var files embed.FS

// Files are what the page loads: a style sheet, a script, a picture. They hold nothing of anybody.
func Files() fs.FS {
	sub, err := fs.Sub(files, "page")
	if err != nil { // the name is valid
		panic(err)
	}
	return sub
}

// Page makes the HTML of a Status. It is safe for concurrent use.
type Page struct {
	locales map[language.Tag]*locale
	version string
}

// locale is the page in one language.
type locale struct {
	tag      language.Tag
	words    words
	units    units
	template *template.Template
}

// View is what the page shows besides the status.
type View struct {
	Viewer
	Language language.Tag
	// Monitoring says that the caller may see /monitoring/.
	Monitoring bool
}

// Limits of [Viewer.Limit] for the page.
const (
	FewApps  = 20
	ManyApps = 500
)

// NewPage returns the page.
func NewPage() *Page {
	p := &Page{locales: make(map[language.Tag]*locale), version: filesVersion()}
	for _, tag := range Languages {
		l := &locale{tag: tag, words: texts[tag], units: english}
		if tag == language.SimplifiedChinese {
			l.units = han
		}
		l.template = template.Must(template.New("page").Funcs(drawing).Funcs(template.FuncMap{
			"tr": l.tr, "word": l.word, "say": l.say, "span": l.span,
			"ms":    func(ms any) string { return l.span(milliseconds(ms)) },
			"until": func(at, then store.Time) string { return l.span(then.Sub(at.Time)) },
		}).Parse(pageHTML))
		p.locales[tag] = l
	}
	return p
}

// filesVersion changes with the files, so that a browser loads new ones.
func filesVersion() string {
	sum := sha256.New()
	for _, name := range []string{"page/page.css", "page/page.js"} {
		text, err := files.ReadFile(name)
		if err != nil { // it is embedded
			panic(err)
		}
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}

func milliseconds(ms any) time.Duration {
	switch ms := ms.(type) {
	case int64:
		return time.Duration(ms) * time.Millisecond
	case float64:
		return time.Duration(ms * float64(time.Millisecond))
	default:
		return 0
	}
}

// HTML is the page for a status, or for none: that Redis does not answer.
func (p *Page) HTML(s *Status, view View) ([]byte, error) {
	l := p.locales[view.Language]
	var b bytes.Buffer
	err := l.template.Execute(&b, struct {
		*Status
		View
		Version string
		Now     store.Time
	}{s, view, p.version, store.At(time.Now())})
	if err != nil {
		return nil, fmt.Errorf("making the status page: %w", err)
	}
	return b.Bytes(), nil
}

// Address is the page's own for another language or number of apps.
func (v View) Address(lang string, limit int) string {
	q := url.Values{}
	if lang != "" {
		q.Set("lang", lang)
	}
	if v.AppID != "" {
		q.Set("appid", v.AppID)
	}
	if limit > FewApps {
		q.Set("limit", strconv.Itoa(limit))
	}
	if len(q) == 0 {
		return "/"
	}
	return "/?" + q.Encode()
}

// Many is the larger limit.
func (View) Many() int { return ManyApps }

// Few is the usual limit.
func (View) Few() int { return FewApps }

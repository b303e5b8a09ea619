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

// Files returns the files that the page loads: a style sheet, a script and an icon. They contain
// no data.
func Files() fs.FS {
	sub, err := fs.Sub(files, "page")
	if err != nil { // impossible: the name is valid
		panic(err)
	}
	return sub
}

// Page renders a [Status] as HTML. It is safe for concurrent use.
type Page struct {
	locales map[language.Tag]*locale
	version string
}

// locale renders the page in one language.
type locale struct {
	tag      language.Tag
	words    words
	units    units
	template *template.Template
}

// View says what the page shows and how.
type View struct {
	Viewer
	Language language.Tag
	// Monitoring says that the caller may see /monitoring/, so the page links to it.
	Monitoring bool
}

// FewApps and ManyApps are the default and the maximum of [Viewer.Limit] for the page.
const (
	FewApps  = 20
	ManyApps = 500
)

// NewPage parses the template for each language.
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

// filesVersion returns a hash of the files. It changes with them, so that browsers load the new
// ones.
func filesVersion() string {
	sum := sha256.New()
	for _, name := range []string{"page/page.css", "page/page.js"} {
		text, err := files.ReadFile(name)
		if err != nil { // impossible: the file is embedded
			panic(err)
		}
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}

// milliseconds converts a number of the template to a duration.
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

// HTML renders the page for a status. A nil status renders a page that says that Redis does not
// respond.
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
		return nil, fmt.Errorf("rendering the status page: %w", err)
	}
	return b.Bytes(), nil
}

// Address returns the URL of the page in another language or with another number of apps.
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

// Many returns the maximum number of apps, for the template.
func (View) Many() int { return ManyApps }

// Few returns the default number of apps, for the template.
func (View) Few() int { return FewApps }

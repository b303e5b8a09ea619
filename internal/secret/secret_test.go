package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"cloudidq/internal/secret"
)

// No printer of the project prints a secret, in any position.
func TestText_NeverPrinted(t *testing.T) {
	const planted = "planted-AppSecret-4711"
	type nested struct {
		Token secret.Text
		List  []secret.Text
		Map   map[string]secret.Text
		inner secret.Text // fmt does not call the methods of unexported fields
	}
	text := secret.New(planted)
	value := nested{Token: text, List: []secret.Text{text}, Map: map[string]secret.Text{"k": text}, inner: text}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb, value)
		fmt.Fprintf(&out, verb, &value)
		fmt.Fprintf(&out, verb, text)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "a", text, "b", value, "c", &value)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "a", text, "b", value, "c", errors.Join(fmt.Errorf("x %v", text)))
	asJSON, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(asJSON)
	out.Write(asYAML)

	if strings.Contains(out.String(), planted) || strings.Contains(out.String(), fmt.Sprintf("%x", planted)) {
		t.Errorf("the secret was printed:\n%s", out.String())
	}
	if got := text.Reveal(); got != planted {
		t.Errorf("Reveal() = %q, want %q", got, planted)
	}
}

package docs_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"cloudidq/internal/secret"
	"cloudidq/internal/webhook"
)

// delivery is one input of a documented function. Good says whether the function must accept it.
type delivery struct {
	Secret  string            `json:"secret"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Good    bool              `json:"good"`
}

// deliveries returns deliveries as JSON. The code that signs real deliveries signs them.
func deliveries(t *testing.T) string {
	t.Helper()
	text := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	other := "whsec_" + base64.StdEncoding.EncodeToString([]byte("another-secret-of-the-receiver!!"))
	const body = `{"type":"resolutions.finished","data":{"results":[{"data":{"nickName":"微信 <&>  "}}]}}`
	signed := func(at time.Time, secrets ...string) map[string]string {
		var keys []webhook.Key
		for _, s := range secrets {
			key, err := webhook.ParseKey(secret.New(s))
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key)
		}
		headers := map[string]string{}
		for name, values := range webhook.Sign(keys, "msg_1", at, []byte(body)) {
			headers[strings.ToLower(name)] = values[0]
		}
		return headers
	}
	now := time.Now()
	forged := signed(now, text)
	forged["webhook-id"] = "msg_2"
	all := []delivery{
		{text, official(t, text, now, body), body, true},
		{text, signed(now, text), body, true},
		{text, signed(now.Add(-3*time.Minute), text), body, true},
		{text, signed(now, other, text), body, true}, // while the secret is changed
		{text, signed(now, other), body, false},
		{text, signed(now, text), body + " ", false},
		{text, signed(now.Add(-6*time.Minute), text), body, false},
		{text, signed(now.Add(9*time.Minute), text), body, false},
		{text, forged, body, false},
	}
	out, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// official returns the headers of a delivery that the official library signs.
func official(t *testing.T, secret string, at time.Time, body string) map[string]string {
	t.Helper()
	theirs, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := theirs.Sign("msg_1", at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"webhook-id": "msg_1", "webhook-timestamp": strconv.FormatInt(at.Unix(), 10), "webhook-signature": signature,
	}
}

// codeBlock returns the only block of a language in a document.
func codeBlock(t *testing.T, file, language string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n```"+language+"\n")
	block, rest, closed := strings.Cut(rest, "\n```")
	if !found || !closed || strings.Contains(rest, "\n```"+language+"\n") {
		t.Fatalf("%s must have one block of %s", file, language)
	}
	return block + "\n"
}

// Each function of docs/webhooks.md accepts the good deliveries and refuses the others.
func TestWebhooks_TheFunctionsVerify(t *testing.T) {
	for language, tt := range map[string]struct {
		file   string
		driver string // follows the function: reads deliveries from stdin, prints the number of errors
		run    []string
	}{
		"go": {"main.go", `
func main() {
	var all []struct {
		Secret  string
		Headers map[string]string
		Body    string
		Good    bool
	}
	if err := json.NewDecoder(os.Stdin).Decode(&all); err != nil {
		panic(err)
	}
	wrong := 0
	for _, d := range all {
		header := http.Header{}
		for name, value := range d.Headers {
			header.Set(name, value)
		}
		if (verify(d.Secret, header, []byte(d.Body), time.Now()) == nil) != d.Good {
			wrong++
		}
	}
	fmt.Println(len(all), wrong)
}
`, []string{"go", "run"}},
		"js": {"main.js", `
let wrong = 0
const all = JSON.parse(require('node:fs').readFileSync(0, 'utf8'))
for (const d of all) {
  let good = true
  try { verify(d.secret, d.headers, Buffer.from(d.body)) } catch { good = false }
  if (good !== d.good) wrong++
}
console.log(all.length, wrong)
`, []string{"node"}},
		"php": {"main.php", `
$wrong = 0;
$all = json_decode(file_get_contents('php://stdin'), true);
foreach ($all as $d) {
    $good = true;
    try { verify($d['secret'], $d['headers'], $d['body']); } catch (RuntimeException $e) { $good = false; }
    if ($good !== $d['good']) { $wrong++; }
}
echo count($all), ' ', $wrong, "\n";
`, []string{"php"}},
		"python": {"main.py", `

import json
import sys

wrong = 0
all = json.load(sys.stdin)
for d in all:
    good = True
    try:
        verify(d["secret"], d["headers"], d["body"].encode())
    except ValueError:
        good = False
    wrong += good != d["good"]
print(len(all), wrong)
`, []string{"python3"}},
	} {
		t.Run(language, func(t *testing.T) {
			if _, err := exec.LookPath(tt.run[0]); err != nil {
				t.Skipf("%s is not installed", tt.run[0])
			}
			source := codeBlock(t, "webhooks.md", language) + tt.driver
			if language == "go" {
				source = strings.Replace(source, "import (", "import (\n\t\"encoding/json\"\n\t\"fmt\"\n\t\"os\"\n", 1)
			}
			file := filepath.Join(t.TempDir(), tt.file)
			if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
			input := deliveries(t)
			cmd := exec.CommandContext(t.Context(), tt.run[0], append(tt.run[1:], file)...)
			cmd.Env = environment()
			cmd.Stdin = strings.NewReader(input)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if want := strconv.Itoa(strings.Count(input, `"good":`)) + " 0"; strings.TrimSpace(string(out)) != want {
				t.Errorf("deliveries and wrong results: %s, want %s", out, want)
			}
		})
	}
}

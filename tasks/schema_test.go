package tasks_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"cloudidq/tasks"
)

// schemaDoc returns docs/resolve.schema.json as a tree.
func schemaDoc(t *testing.T) any {
	t.Helper()
	text, err := os.ReadFile("../docs/resolve.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// schema returns docs/resolve.schema.json, compiled by an independent validator.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat() // for date-time
	if err := compiler.AddResource("resolve.schema.json", schemaDoc(t)); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("resolve.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// validate checks a payload against the schema.
func validate(s *jsonschema.Schema, payload []byte) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

// The schema accepts every payload that a producer of this package can write.
func TestSchema_TakesEveryPayloadThatIsWritten(t *testing.T) {
	s := schema(t)
	text := func(least, most int) *rapid.Generator[string] {
		return rapid.StringOfN(rapid.RuneFrom(nil, unicode.PrintRanges...), least, -1, most)
	}
	name, optional := rapid.StringMatching(tasks.NamePattern), rapid.StringMatching(`^[A-Za-z0-9_-]{0,64}$`)
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		ms := rapid.Int64Range(946684800000, time.Now().UnixMilli()).Draw(t, "ms") // since the year 2000
		return rapid.SampledFrom([]time.Time{{}, time.UnixMilli(ms), time.UnixMilli(ms).UTC()}).Draw(t, "time")
	})
	item := rapid.Custom(func(t *rapid.T) tasks.Item {
		return tasks.Item{
			CloudID:    text(1, tasks.MaxCloudIDBytes).Draw(t, "cloud_id"),
			OpenID:     text(0, tasks.MaxOpenIDBytes).Draw(t, "openid"),
			ObtainedAt: moment.Draw(t, "obtained_at"),
			Reference:  text(0, tasks.MaxRefBytes).Draw(t, "reference"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		task, err := tasks.NewResolveTask(tasks.ResolvePayload{
			AppID:      name.Draw(t, "appid"),
			Items:      rapid.SliceOfN(item, 1, 5).Draw(t, "items"),
			AcceptedAt: moment.Draw(t, "accepted_at"),
			Webhook:    optional.Draw(t, "webhook"),
			Backfill:   optional.Draw(t, "backfill"),
			Erased:     rapid.IntRange(0, tasks.MaxItems).Draw(t, "erased"),
		}, tasks.QueueEvents)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(s, task.Payload()); err != nil {
			t.Errorf("Validate(%s) = %v", task.Payload(), err)
		}
	})
}

// The limits in the schema equal the constants of this package.
func TestSchema_BoundsAreThoseOfTheCode(t *testing.T) {
	doc := schemaDoc(t)
	got := map[string]string{}
	for _, path := range []string{
		"properties v const",
		"properties appid minLength", "properties appid maxLength", "properties appid pattern",
		"then properties items minItems", "properties items maxItems", "properties erased maximum",
		"properties webhook maxLength", "properties backfill maxLength",
		"$defs item properties cloud_id minLength", "$defs item properties cloud_id maxLength",
		"$defs item properties openid maxLength", "$defs item properties reference maxLength",
	} {
		node := doc
		for key := range strings.FieldsSeq(path) {
			object, _ := node.(map[string]any)
			node = object[key]
		}
		got[path] = fmt.Sprint(node)
	}
	want := map[string]string{
		"properties v const":                        fmt.Sprint(tasks.PayloadVersion),
		"properties appid minLength":                "1",
		"properties appid maxLength":                fmt.Sprint(tasks.MaxAppIDBytes),
		"properties appid pattern":                  tasks.NamePattern,
		"then properties items minItems":            "1",
		"properties erased maximum":                 fmt.Sprint(tasks.MaxItems),
		"properties items maxItems":                 fmt.Sprint(tasks.MaxItems),
		"properties webhook maxLength":              fmt.Sprint(tasks.MaxNameBytes),
		"properties backfill maxLength":             fmt.Sprint(tasks.MaxNameBytes),
		"$defs item properties cloud_id minLength":  "1",
		"$defs item properties cloud_id maxLength":  fmt.Sprint(tasks.MaxCloudIDBytes),
		"$defs item properties openid maxLength":    fmt.Sprint(tasks.MaxOpenIDBytes),
		"$defs item properties reference maxLength": fmt.Sprint(tasks.MaxRefBytes),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bounds (-code +schema):\n%s", diff)
	}
}

// The schema describes every member of the payload.
func TestSchema_NamesEveryMember(t *testing.T) {
	full := tasks.ResolvePayload{
		AppID: "wx1", AcceptedAt: time.Now(), Webhook: "w", Backfill: "b", Erased: 1,
		Items: []tasks.Item{{CloudID: "73_x", OpenID: "o1", ObtainedAt: time.Now(), Reference: "r"}},
	}
	task, err := tasks.NewResolveTask(full, tasks.QueueEvents)
	if err != nil {
		t.Fatal(err)
	}
	var payload struct{ Items []map[string]any }
	var members map[string]any
	if err := errors.Join(json.Unmarshal(task.Payload(), &payload), json.Unmarshal(task.Payload(), &members)); err != nil {
		t.Fatal(err)
	}
	s := schema(t)
	if diff := cmp.Diff(sortedKeys(members), sortedKeys(s.Properties)); diff != "" {
		t.Errorf("members of the payload (-code +schema):\n%s", diff)
	}
	if diff := cmp.Diff(sortedKeys(payload.Items[0]), sortedKeys(s.Properties["items"].Items2020.Ref.Properties)); diff != "" {
		t.Errorf("members of an item (-code +schema):\n%s", diff)
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// The schema and ParseResolve accept and reject the same payloads.
func TestSchema_AgreesWithParseResolve(t *testing.T) {
	s := schema(t)
	for name, tc := range map[string]struct {
		payload string
		ok      bool
	}{
		"least":             {`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x"}]}`, true},
		"all members":       {`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x","openid":"o1","obtained_at":"2026-11-22T08:00:00.000Z","reference":"r"}],"accepted_at":"2026-11-22T08:00:00Z","webhook":"w","backfill":"b"}`, true},
		"empty optionals":   {`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x","openid":"","reference":""}],"webhook":"","backfill":""}`, true},
		"offset of a zone":  {`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x","obtained_at":"2026-11-22T16:00:00+08:00"}]}`, true},
		"unknown members":   {`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x","more":1}],"extra":{}}`, true},
		"longest cloudID":   {item(strings.Repeat("x", tasks.MaxCloudIDBytes)), true},
		"most items":        {items(tasks.MaxItems), true},
		"no version":        {`{"appid":"wx1","items":[{"cloud_id":"73_x"}]}`, false},
		"next version":      {`{"v":2,"appid":"wx1","items":[{"cloud_id":"73_x"}]}`, false},
		"version as text":   {`{"v":"1","appid":"wx1","items":[{"cloud_id":"73_x"}]}`, false},
		"no appid":          {`{"v":1,"items":[{"cloud_id":"73_x"}]}`, false},
		"empty appid":       {`{"v":1,"appid":"","items":[{"cloud_id":"73_x"}]}`, false},
		"appid a number":    {`{"v":1,"appid":1,"items":[{"cloud_id":"73_x"}]}`, false},
		"appid too long":    {`{"v":1,"appid":"` + strings.Repeat("a", tasks.MaxAppIDBytes+1) + `","items":[{"cloud_id":"73_x"}]}`, false},
		"appid with quote":  {`{"v":1,"appid":"wx1\",\"x","items":[{"cloud_id":"73_x"}]}`, false},
		"appid with blank":  {`{"v":1,"appid":"wx 1","items":[{"cloud_id":"73_x"}]}`, false},
		"appid with \n":     {`{"v":1,"appid":"wx1\n","items":[{"cloud_id":"73_x"}]}`, false},
		"webhook with dot":  {`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x"}],"webhook":"a.b"}`, false},
		"webhook with :":    {`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x"}],"webhook":"orders:line"}`, false},
		"backfill with :":   {`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x"}],"backfill":"bf:1"}`, false},
		"no items":          {`{"v":1,"appid":"wx1"}`, false},
		"empty items":       {items(0), false},
		"all erased":        {`{"v":1,"appid":"wx1","items":[],"erased":2}`, true},
		"none erased":       {`{"v":1,"appid":"wx1","items":[],"erased":0}`, false},
		"erased below 0":    {`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x"}],"erased":-1}`, false},
		"too many erased":   {`{"v":1,"appid":"wx1","items":[],"erased":101}`, false},
		"erased a text":     {`{"v":1,"appid":"wx1","items":[],"erased":"1"}`, false},
		"too many items":    {items(tasks.MaxItems + 1), false},
		"item a string":     {`{"v":1,"appid":"wx1","items":["73_x"]}`, false},
		"no cloudID":        {`{"v":1,"appid":"wx1","items":[{"openid":"o1"}]}`, false},
		"empty cloudID":     {item(""), false},
		"cloudID too long":  {item(strings.Repeat("x", tasks.MaxCloudIDBytes+1)), false},
		"time in seconds":   {`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x","obtained_at":1795390345}]}`, false},
		"time without zone": {`{"v":1,"appid":"wx1","items":[{"cloud_id":"73_x","obtained_at":"2026-11-22T08:00:00"}]}`, false},
		"an array":          {`[]`, false},
		"null":              {`null`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := validate(s, []byte(tc.payload)); (err == nil) != tc.ok {
				t.Errorf("the schema says %v, want ok = %v", err, tc.ok)
			}
			if _, err := tasks.ParseResolve([]byte(tc.payload)); (err == nil) != tc.ok {
				t.Errorf("ParseResolve() = %v, want ok = %v", err, tc.ok)
			}
		})
	}
}

// item returns a payload with one cloudID.
func item(cloudID string) string {
	return `{"v":1,"appid":"wx1","items":[{"cloud_id":"` + cloudID + `"}]}`
}

// items returns a payload with n cloudIDs.
func items(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"cloud_id":"73_%d"}`, i)
	}
	return `{"v":1,"appid":"wx1","items":[` + strings.Join(list, ",") + `]}`
}

package store_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/seal/sealtest"
	"cloudidq/store"
)

// A sealed database contains no id and no data in plain text, hexadecimal or base64.
func TestPostgresSealed_NothingLegible(t *testing.T) {
	dsn := pgtest.Database(t)
	keyset, _, _ := sealtest.Keysets(t)
	sealed := openPostgres(t, dsn, time.Hour, store.Sealed(keyset))
	rec := sealedRecord()
	rec.AppID = "wxPLANTED"
	claim := claimOf("taskPLANTED", store.Record{AppID: rec.AppID, OpenID: rec.OpenID, CloudID: rec.CloudID, Status: store.Pending})
	if _, err := sealed.Claim(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	pendingDump := dumpPostgres(t, dsn)
	if err := sealed.Save(t.Context(), "taskPLANTED", []store.Record{rec}); err != nil {
		t.Fatal(err)
	}
	if _, err := sealed.Erase(t.Context(), rec.AppID, "otherPLANTED"); err != nil {
		t.Fatal(err)
	}
	for _, dump := range []string{pendingDump, dumpPostgres(t, dsn)} {
		for _, planted := range []string{"PLANTED", hex.EncodeToString([]byte("PLANTED")), "UExBTlRFR"} { // base64 last
			if len(dump) < 500 || strings.Contains(strings.ToLower(dump), strings.ToLower(planted)) {
				t.Errorf("the dump holds %q: %s", planted, dump)
			}
		}
	}
	_, err := openPostgres(t, dsn, time.Hour).Lookup(t.Context(), rec.AppID, []string{rec.CloudID})
	if !errors.Is(err, store.ErrUnreadable) {
		t.Errorf("Lookup without the keyset = %v, want ErrUnreadable", err)
	}
}

// dumpPostgres returns every row of the database as text, with bytes in hexadecimal, followed
// by the output of pg_dump if that is installed.
func dumpPostgres(t *testing.T, dsn string) string {
	t.Helper()
	conn := connect(t, dsn)
	var all strings.Builder
	for _, table := range []string{"cloudidq_records", "cloudidq_persons", "cloudidq_migrations"} {
		var text string
		query := fmt.Sprintf("SELECT coalesce(string_agg(r::text, E'\\n'), '') FROM %s r", table)
		if err := conn.QueryRow(t.Context(), query).Scan(&text); err != nil {
			t.Fatal(err)
		}
		all.WriteString(text + "\n")
	}
	if tool, err := exec.LookPath("pg_dump"); err == nil {
		var said bytes.Buffer
		cmd := exec.CommandContext(t.Context(), tool, "--data-only", "--inserts", "--dbname", dsn)
		cmd.Stderr = &said
		text, err := cmd.Output()
		if err != nil && !strings.Contains(said.String(), "version mismatch") {
			t.Fatalf("pg_dump: %v: %s", err, said.String())
		}
		all.Write(text)
	}
	return all.String()
}

// A record under a pruned key cannot be read; a record under the new key can. Claims and
// erasures still work.
func TestPostgresSealed_Rotation(t *testing.T) {
	dsn := pgtest.Database(t)
	first, rotated, pruned := sealtest.Keysets(t)
	with := func(k *store.Keyset) *store.Postgres { return openPostgres(t, dsn, time.Hour, store.Sealed(k)) }
	old, recent := sealedRecord(), sealedRecord()
	recent.CloudID = "73_NEW"
	if err := with(first).Save(t.Context(), "t", []store.Record{old}); err != nil {
		t.Fatal(err)
	}
	if err := with(rotated).Save(t.Context(), "t", []store.Record{recent}); err != nil {
		t.Fatal(err)
	}
	got, err := with(pruned).Lookup(t.Context(), "wx1", []string{old.CloudID, recent.CloudID})
	if diff := cmp.Diff([]store.Record{{}, recent}, got); !errors.Is(err, store.ErrUnreadable) || diff != "" {
		t.Errorf("after pruning: %v (-want +got):\n%s", err, diff)
	}
	// A process without the new key still knows that the record exists and is resolved, so it
	// sends no request.
	claimed, err := with(first).Claim(t.Context(), claimOf("u", pendingRecord("wx1", recent.CloudID)))
	if err != nil || claimed[0].State != store.Done || claimed[0].Record.Status != store.Resolved {
		t.Errorf("Claim with the old keyset = %+v, %v, want done", claimed, err)
	}
	// An erasure finds users under any key, because a rotation does not change the index.
	if n, err := with(pruned).Erase(t.Context(), "wx1", old.OpenID); n != 2 || err != nil {
		t.Errorf("Erase = %d, %v, want both records", n, err)
	}
}

package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"cloudidq/internal/seal"
)

var someAD = seal.AD{Field: "data", AppID: "wx0000000000000001", CloudID: "73_abc"}

func genAD() *rapid.Generator[seal.AD] {
	return rapid.Custom(func(t *rapid.T) seal.AD {
		return seal.AD{
			Field:   rapid.String().Draw(t, "field"),
			AppID:   rapid.String().Draw(t, "appid"),
			CloudID: rapid.String().Draw(t, "cloudID"),
		}
	})
}

func TestKeyset_SealThenOpen_Same(t *testing.T) {
	k := parse(t, newDocument(t))
	rapid.Check(t, func(t *rapid.T) {
		plaintext := rapid.SliceOf(rapid.Byte()).Draw(t, "plaintext")
		before := rapid.SliceOf(rapid.Byte()).Draw(t, "dst")
		ad := genAD().Draw(t, "ad")

		closed, err := k.Seal(bytes.Clone(before), plaintext, ad)
		if err != nil {
			t.Fatal(err)
		}
		head, closed := closed[:len(before)], closed[len(before):]
		if !bytes.Equal(head, before) {
			t.Fatalf("Seal changed dst to %x, want %x", head, before)
		}
		if len(closed) != len(plaintext)+seal.Overhead {
			t.Fatalf("sealing %d bytes returned %d bytes, want %d more", len(plaintext),
				len(closed), seal.Overhead)
		}
		if len(plaintext) >= 8 && bytes.Contains(closed, plaintext) {
			t.Fatalf("the sealed text contains the plaintext")
		}
		opened, err := k.Open(bytes.Clone(before), closed, ad)
		if err != nil {
			t.Fatal(err)
		}
		if want := append(bytes.Clone(before), plaintext...); !bytes.Equal(opened, want) {
			t.Fatalf("Open = %x, want %x", opened, want)
		}
	})
}

func TestKeyset_SealTwice_Differs(t *testing.T) {
	k := parse(t, newDocument(t))
	if a, b := sealed(t, k, "13800138000", someAD), sealed(t, k, "13800138000", someAD); bytes.Equal(a, b) {
		t.Errorf("sealing a text twice returned the same bytes: %x", a)
	}
}

func TestKeyset_OpenElsewhere_Unreadable(t *testing.T) {
	k := parse(t, newDocument(t))
	closed := sealed(t, k, "13800138000", someAD)
	for name, ad := range map[string]seal.AD{
		"field":               {Field: "openid", AppID: someAD.AppID, CloudID: someAD.CloudID},
		"appid":               {Field: someAD.Field, AppID: "wx0000000000000002", CloudID: someAD.CloudID},
		"cloudID":             {Field: someAD.Field, AppID: someAD.AppID, CloudID: "73_abd"},
		"nothing":             {},
		"boundary moved":      {Field: someAD.Field, AppID: someAD.AppID + "7", CloudID: "3_abc"},
		"boundary moved left": {Field: "dat", AppID: "a" + someAD.AppID, CloudID: someAD.CloudID},
		"exchanged":           {Field: someAD.Field, AppID: someAD.CloudID, CloudID: someAD.AppID},
	} {
		if text, err := k.Open(nil, closed, ad); !errors.Is(err, seal.ErrUnreadable) || text != nil {
			t.Errorf("%s: Open = %q, %v, want ErrUnreadable", name, text, err)
		}
	}
}

// A text can be opened with the AD that it was sealed with, and with no other one, for any
// contents of the AD.
func TestKeyset_OpenUnderAnyOtherAD_Unreadable(t *testing.T) {
	k := parse(t, newDocument(t))
	// The alphabet is small, so that different parts often join to the same string.
	part := rapid.StringOfN(rapid.SampledFrom([]rune("a|\x01\x00")), 0, 4, -1)
	gen := rapid.Custom(func(t *rapid.T) seal.AD {
		return seal.AD{Field: part.Draw(t, "field"), AppID: part.Draw(t, "appid"), CloudID: part.Draw(t, "cloudID")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "sealed with"), gen.Draw(t, "opened with")
		closed, err := k.Seal(nil, []byte("text"), a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Open(nil, closed, b); (err == nil) != (a == b) {
			t.Fatalf("sealed with %+v, opened with %+v: %v", a, b, err)
		}
	})
}

func TestKeyset_OpenChanged_Unreadable(t *testing.T) {
	k := parse(t, newDocument(t))
	closed := sealed(t, k, "13800138000", someAD)
	for bit := range 8 * len(closed) {
		changed := bytes.Clone(closed)
		changed[bit/8] ^= 1 << (bit % 8)
		if _, err := k.Open(nil, changed, someAD); !errors.Is(err, seal.ErrUnreadable) {
			t.Fatalf("bit %d changed: Open = %v, want ErrUnreadable", bit, err)
		}
	}
	for n := range len(closed) {
		if _, err := k.Open(nil, closed[:n], someAD); !errors.Is(err, seal.ErrUnreadable) {
			t.Fatalf("truncated after %d bytes: Open = %v, want ErrUnreadable", n, err)
		}
	}
	if _, err := k.Open(nil, append(bytes.Clone(closed), 0), someAD); !errors.Is(err, seal.ErrUnreadable) {
		t.Errorf("a byte added: Open = %v, want ErrUnreadable", err)
	}
}

func TestKeyset_OpenWithOtherKeyset_Unreadable(t *testing.T) {
	closed := sealed(t, parse(t, newDocument(t)), "13800138000", someAD)
	if _, err := parse(t, newDocument(t)).Open(nil, closed, someAD); !errors.Is(err, seal.ErrUnreadable) {
		t.Errorf("Open = %v, want ErrUnreadable", err)
	}
}

func TestKeyset_ConcurrentUse(t *testing.T) {
	k := parse(t, rotate(t, newDocument(t)))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ad := seal.AD{Field: "data", AppID: "wx1", CloudID: fmt.Sprint("73_", i)}
			want := k.PersonHash("wx1", "o1")
			for n := range 200 {
				text := fmt.Sprint(i, " ", n)
				closed, err := k.Seal(nil, []byte(text), ad)
				if err != nil {
					t.Error(err)
					return
				}
				opened, err := k.Open(nil, closed, ad)
				if err != nil || string(opened) != text || k.PersonHash("wx1", "o1") != want {
					t.Errorf("Open = %q, %v, want %q", opened, err, text)
					return
				}
			}
		})
	}
	wg.Wait()
}

package seal_test

import (
	"bytes"
	"testing"
)

// benchText has the length of a typical record.
var benchText = bytes.Repeat([]byte("0123456789"), 50)

func BenchmarkSeal(b *testing.B) {
	k := parse(b, rotate(b, newDocument(b)))
	b.SetBytes(int64(len(benchText)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal(nil, benchText, someAD); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	doc := newDocument(b)
	closed, err := parse(b, doc).Seal(nil, benchText, someAD)
	if err != nil {
		b.Fatal(err)
	}
	k := parse(b, rotate(b, doc)) // the key is an old one
	b.SetBytes(int64(len(benchText)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(nil, closed, someAD); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPersonHash(b *testing.B) {
	k := parse(b, newDocument(b))
	b.ReportAllocs()
	for b.Loop() {
		k.PersonHash("wx0000000000000001", "o6_bmjrPTlm6_2sgVt7hMZOPfL2M")
	}
}

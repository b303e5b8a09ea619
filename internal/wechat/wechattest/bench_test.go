package wechattest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"cloudidq/internal/wechat/wechattest"
)

// discard is a response writer without cost, so that a benchmark measures only the handler.
type discard struct{ header http.Header }

func (b *discard) Header() http.Header         { return b.header }
func (b *discard) Write(p []byte) (int, error) { return len(p), nil }
func (b *discard) WriteHeader(int)             {}
func (b *discard) Flush()                      {}

func BenchmarkHandler(b *testing.B) {
	for _, size := range []int{1, 5, 100} {
		for _, noLedger := range []bool{false, true} {
			b.Run(fmt.Sprintf("ids=%d/noledger=%v", size, noLedger), func(b *testing.B) {
				sim := newSim(b, wechattest.Config{NoLedger: noLedger, Faults: wechattest.Faults{"busy": 0.01, "missing": 0.01}})
				var ids []string
				for n := range size {
					ids = append(ids, `"`+sim.CloudID(appA, 1, n, start).CloudID+`"`)
				}
				body := `{"cloudid_list":[` + strings.Join(ids, ",") + `]}`
				req := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/wxa/getopendata?access_token="+
					sim.StaticToken(appA)+"&openid="+sim.CloudID(appA, 1, 0, start).OpenID, nil)
				req.ContentLength = int64(len(body))
				w := &discard{header: make(http.Header)}
				b.ReportAllocs()
				for b.Loop() {
					req.Body = io.NopCloser(strings.NewReader(body))
					sim.ServeHTTP(w, req)
				}
			})
		}
	}
}

// BenchmarkServer measures requests over loopback, including the client, with one cloudID each.
func BenchmarkServer(b *testing.B) {
	sim := newSim(b, wechattest.Config{NoLedger: true})
	srv := httptest.NewServer(sim)
	defer srv.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	url := srv.URL + "/wxa/getopendata?access_token=" + sim.StaticToken(appA)
	var next atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			tap := sim.CloudID(appA, int(next.Add(1)), 0, start)
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url+"&openid="+tap.OpenID,
				strings.NewReader(`{"cloudid_list":["`+tap.CloudID+`"]}`))
			if err != nil {
				b.Error(err)
				return
			}
			resp, err := client.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

func BenchmarkCloudID(b *testing.B) {
	sim := newSim(b, wechattest.Config{})
	b.ReportAllocs()
	for b.Loop() {
		sim.CloudID(appA, 1, 2, start)
	}
}

package wechat_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

// benchAnswer returns n cloudIDs and an answer with a month of steps for each, which is the largest
// common data.
func benchAnswer(n int) ([]string, []byte) {
	steps := ""
	for day := range 31 {
		steps += fmt.Sprintf(`{"timestamp":%d,"step":%d},`, 1603641600+day*86400, 1000+day)
	}
	ids, entries := make([]string, n), make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("73_%059d", i)
		entries[i] = entry(ids[i], fmt.Sprintf(`{ "cloudID":%q, "data":{"stepInfoList":[%s],"watermark":{"timestamp":1686993965,"appid":"wx00"}} }`,
			ids[i], steps[:len(steps)-1]))
	}
	return ids, []byte(list(entries...))
}

// benchPhones is benchAnswer with the smallest common data.
func benchPhones(n int) ([]string, []byte) {
	ids, entries := make([]string, n), make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("73_%059d", i)
		entries[i] = entry(ids[i], fmt.Sprintf(`{ "cloudID":%q, "data":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000",`+
			`"countryCode":"86","watermark":{"timestamp":1686993965,"appid":"wx00"}} }`, ids[i]))
	}
	return ids, []byte(list(entries...))
}

func BenchmarkParseOutcome(b *testing.B) {
	kinds := map[string]func(int) ([]string, []byte){"werun": benchAnswer, "phone": benchPhones}
	for _, kind := range []string{"phone", "werun"} {
		for _, n := range []int{1, 20, 100} {
			b.Run(fmt.Sprintf("%s/items=%d", kind, n), func(b *testing.B) {
				ids, body := kinds[kind](n)
				b.ReportAllocs()
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					outcomes, err := wechat.ParseResponse(200, body, "wx00", ids)
					if err != nil || outcomes[n-1].Data == nil {
						b.Fatal(outcomes, err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/item")
			})
		}
	}
}

// BenchmarkGetOpenData measures a whole exchange over loopback, including the server.
func BenchmarkGetOpenData(b *testing.B) {
	for _, n := range []int{1, 20} {
		b.Run(fmt.Sprintf("items=%d", n), func(b *testing.B) {
			ids, body := benchPhones(n)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(body)
			}))
			defer server.Close()
			client, err := wechat.New(wechat.Config{BaseURL: server.URL})
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			tokens := wechat.StaticToken(secret.New("token"))
			req := wechat.Request{AppID: "wx00", OpenID: "openid", Items: make([]wechat.Item, n)}
			for i := range ids {
				req.Items[i].CloudID = ids[i]
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if outcomes := client.GetOpenData(b.Context(), tokens, req); outcomes[n-1].Data == nil {
						b.Error(outcomes[n-1].Err)
					}
				}
			})
		})
	}
}

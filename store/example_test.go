package store_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/seal"
	"cloudidq/store"
	"cloudidq/tasks"
)

// A producer that uses the same Redis as its workers waits for the records of its cloudIDs, and
// reads their data.
func ExampleWait() {
	rdb, stop := startRedis()
	defer stop()
	// The keyset is the output of `cloudidq keys new`, the same as the workers use.
	keyset, err := store.ParseKeyset(resultsKeyset())
	if err != nil {
		log.Fatal(err)
	}
	results := store.NewRedis(rdb, 24*time.Hour, store.Sealed(keyset)) // store.result_ttl of the workers
	client := tasks.NewClient(rdb, tasks.Options{})
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// An earlier request for the cloudID may have failed.
	before, err := store.FinalsSoFar(ctx, results, "wx0000000000000001", []string{"73_x"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Resolve(ctx, tasks.Request{
		AppID: "wx0000000000000001", Items: []tasks.Item{{CloudID: "73_x", OpenID: "o1", ObtainedAt: time.Now()}},
	})
	if err != nil {
		log.Fatal(err)
	}
	go playWorker(results)

	records, err := store.Wait(ctx, results, "wx0000000000000001", []string{"73_x"}, before)
	if err != nil {
		log.Fatal(err) // if ctx has expired, records still has the results so far
	}
	data, err := tasks.ParseOpenData(records[0].Data)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(records[0].Status, records[0].Kind, data.PurePhoneNumber)
	// Output:
	// resolved phone 13800000000
}

// playWorker saves a record as a worker would.
func playWorker(results store.Results) {
	err := results.Save(context.Background(), "task", []store.Record{{
		AppID: "wx0000000000000001", CloudID: "73_x", OpenID: "o1", Status: store.Resolved, Kind: "phone",
		Data:       []byte(`{"purePhoneNumber":"13800000000","watermark":{"appid":"wx0000000000000001","timestamp":1795390000}}`),
		FinishedAt: store.At(time.Now()),
	}})
	if err != nil {
		log.Print(err)
	}
}

func resultsKeyset() string {
	text, err := seal.New()
	if err != nil {
		log.Fatal(err)
	}
	return text.Reveal()
}

// startRedis starts a Redis inside the process.
func startRedis() (rdb *redis.Client, stop func()) {
	mini, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	rdb = redis.NewClient(&redis.Options{Addr: mini.Addr()})
	return rdb, func() {
		_ = rdb.Close()
		mini.Close()
	}
}

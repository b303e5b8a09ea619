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

// A producer that shares the Redis of its workers waits for the records of what it has handed in, and reads the data.
func ExampleWait() {
	rdb, stop := startRedis()
	defer stop()
	keyset, err := store.ParseKeyset(resultsKeyset()) // what `cloudidq keys new` has printed, as the workers have it
	if err != nil {
		log.Fatal(err)
	}
	results := store.NewRedis(rdb, 24*time.Hour, store.Sealed(keyset)) // store.result_ttl of the workers
	client := tasks.NewClient(rdb, tasks.Options{})
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	before, err := store.EndsSoFar(ctx, results, "wx0000000000000001", []string{"73_x"}) // a former ask may have failed
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
		log.Fatal(err) // of ctx, perhaps: the records say what has ended by then
	}
	data, err := tasks.ParseOpenData(records[0].Data)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(records[0].Status, records[0].Kind, data.PurePhoneNumber)
	// Output:
	// resolved phone 13800000000
}

// playWorker saves what a worker would.
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

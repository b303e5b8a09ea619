package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/tasks"
)

// A back end has received a cloudID from its mini program and enqueues it. The call returns once
// Redis has the cloudID.
func ExampleClient_Resolve() {
	rdb, stop := startRedis()
	defer stop()
	client := tasks.NewClient(rdb, tasks.Options{})
	defer client.Close() // before rdb is closed

	receipt, err := client.Resolve(context.Background(), tasks.Request{
		AppID: "wx0000000000000001",
		Items: []tasks.Item{{
			CloudID:    "73_fgJ4wyusvonf58qdAq2uaTrbS1IOTpU2yR9ohCpIKEwU2AMIIaHASIWCK9U",
			OpenID:     "o2axXWPau4mHCKPOKVLg8InKOTP0",
			ObtainedAt: time.Now(), // better: the time at which the front end received it
			Reference:  "order 4711",
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("enqueued:", receipt.Enqueued)
	// Output:
	// enqueued: 1
}

// ResolveAll enqueues any number of cloudIDs as full tasks. This example uses queue backfill,
// which never delays events.
func ExampleClient_ResolveAll() {
	rdb, stop := startRedis()
	defer stop()
	client := tasks.NewClient(rdb, tasks.Options{})
	defer client.Close()

	req := tasks.Request{AppID: "wx0000000000000001", Queue: tasks.QueueBackfill}
	for i := range 250 {
		req.Items = append(req.Items, tasks.Item{CloudID: fmt.Sprintf("73_%d", i), OpenID: fmt.Sprintf("o%d", i)})
	}
	receipt, err := client.ResolveAll(context.Background(), req)
	if err != nil {
		// The items before receipt.Enqueued are enqueued. You can request
		// req.Items[receipt.Enqueued:] again.
		log.Fatal(err)
	}
	info, err := asynq.NewInspectorFromRedisClient(rdb).GetQueueInfo(tasks.QueueBackfill)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("enqueued:", receipt.Enqueued)
	fmt.Println("tasks:", info.Pending)
	// Output:
	// enqueued: 250
	// tasks: 3
}

// An InvalidError lists every problem of a request, without any submitted value. Nothing of the
// request is enqueued.
func ExampleInvalidError() {
	rdb, stop := startRedis()
	defer stop()
	client := tasks.NewClient(rdb, tasks.Options{})
	defer client.Close()

	_, err := client.Resolve(context.Background(), tasks.Request{
		AppID: "wx0000000000000001",
		Items: []tasks.Item{
			{CloudID: "73_good"},
			{CloudID: ""},
			{CloudID: "73_late", ObtainedAt: time.UnixMilli(1_795_390)}, // seconds instead of milliseconds
		},
	})
	if invalid, ok := errors.AsType[*tasks.InvalidError](err); ok {
		for _, fault := range invalid.Faults {
			fmt.Println(fault.Field, fault.Problem)
		}
	}
	// Output:
	// items[1].cloud_id is empty
	// items[2].obtained_at is before the year 2000 (seconds and milliseconds mixed up?)
}

// startRedis starts a Redis inside the process. A real producer connects to the Redis of its
// workers.
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

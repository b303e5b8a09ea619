package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/config"
	"cloudidq/internal/doctor"
	"cloudidq/internal/queue"
	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

// inspectQueues describes the queues of the configuration. If asynq cannot describe a queue, the
// other queues are still described.
func inspectQueues(
	ctx context.Context, cfg *config.Config, rdb redis.UniversalClient,
) ([]doctor.QueueState, error) {
	if err := rdb.Ping(ctx).Err(); err != nil { // the inspector accepts no context
		return nil, err
	}
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	known, err := inspector.Queues()
	if err != nil {
		return nil, err
	}
	servers, err := inspector.Servers()
	if err != nil {
		return nil, err
	}
	// Queue webhooks is only needed if there are endpoints.
	wanted := []string{tasks.QueueEvents, tasks.QueueBackfill}
	if len(cfg.Webhooks) > 0 {
		wanted = append(wanted, tasks.QueueWebhooks)
	}
	states := make([]doctor.QueueState, 0, len(wanted))
	for _, name := range wanted {
		states = append(states, inspectQueue(ctx, rdb, servers, name, slices.Contains(known, name)))
	}
	return states, nil
}

// inspectQueue describes one queue. known reports whether asynq's set of queues contains its name.
func inspectQueue(
	ctx context.Context, rdb redis.UniversalClient, servers []*asynq.ServerInfo, name string, known bool,
) doctor.QueueState {
	// Count the workers that serve the queue.
	state := doctor.QueueState{Name: name}
	for _, server := range servers {
		if _, serves := server.Queues[name]; serves {
			state.Workers++
		}
	}
	var info *asynq.QueueInfo
	var err error
	if known {
		info, err = asynq.NewInspectorFromRedisClient(rdb).GetQueueInfo(name)
	} else {
		// The queue has never had a task, or its name was lost.
		info, err = queue.Count(ctx, rdb, name)
	}
	if err != nil {
		state.Err = err
		return state
	}
	state.Size, state.Unnamed = info.Size, !known && info.Size+info.ProcessedTotal > 0
	state.Paused, state.Pending = info.Paused, info.Pending
	state.Archived, state.Latency = info.Archived, info.Latency
	return state
}

// inspectSealing checks a sample of the records in the configured store.
func inspectSealing(
	ctx context.Context, cfg *config.Config, rdb redis.UniversalClient,
) (store.Sealing, error) {
	if cfg.Store.Driver != config.DriverRedis {
		state, err := store.InspectPostgres(ctx, cfg.Store.DSN.Text().Reveal())
		return state.Sealing, err
	}
	var mu sync.Mutex
	var all store.Sealing
	err := eachServer(ctx, rdb, func(ctx context.Context, _ string, server redis.Cmdable) error {
		one, err := store.InspectSealing(ctx, server)
		mu.Lock()
		defer mu.Unlock()
		all.Seen, all.Unsealed = all.Seen+one.Seen, all.Unsealed+one.Unsealed
		return err
	})
	return all, err
}

// inspectRedis returns the state of the server, or of every master of a cluster.
func inspectRedis(ctx context.Context, rdb redis.UniversalClient) ([]store.RedisState, error) {
	var mu sync.Mutex
	var states []store.RedisState
	err := eachServer(ctx, rdb, func(ctx context.Context, addr string, server redis.Cmdable) error {
		state, err := store.InspectRedis(ctx, server)
		state.Addr = addr
		mu.Lock()
		defer mu.Unlock()
		states = append(states, state)
		return err
	})
	if err != nil {
		return nil, err
	}
	return states, nil
}

// eachServer calls visit for the server, or concurrently for every master of a cluster, with the
// address of the master.
func eachServer(
	ctx context.Context, rdb redis.UniversalClient,
	visit func(ctx context.Context, addr string, server redis.Cmdable) error,
) error {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return visit(ctx, "", rdb)
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		return visit(ctx, master.Options().Addr, master)
	})
}

// apiCheck checks the keys and the certificate of the API, which may run on another machine.
func apiCheck(cfg *config.Config) doctor.Check {
	keys := make([]doctor.APIKey, 0, len(cfg.API.Keys))
	for _, key := range cfg.API.Keys {
		keys = append(keys, doctor.APIKey{Name: key.Name, NotAfter: key.End()})
	}
	var expiry time.Time // of the certificate; zero without one
	if block, _ := pem.Decode([]byte(cfg.API.TLS.Cert.Text().Reveal())); block != nil {
		// ResolveSecrets has rejected an invalid certificate.
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			expiry = cert.NotAfter
		}
	}
	return doctor.API(keys, expiry)
}

// webhookCheck checks a webhook by connecting to it, and reports the state of its endpoint.
func webhookCheck(hook worker.Webhook, deliveries *store.Deliveries) doctor.Check {
	sender := hook.Sender.(*webhook.Sender) // openWebhooks created it
	return doctor.Webhook(hook.Name, sender.Connect, func(ctx context.Context) (store.EndpointState, error) {
		return deliveries.Endpoint(ctx, hook.Name)
	})
}

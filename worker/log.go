package worker

import (
	"fmt"
	"log/slog"
)

// asynqLog implements asynq's Logger interface with slog. asynq logs task ids and Redis errors,
// never payloads.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...), "from", "asynq") }

// Info logs at debug level, because asynq reports every start, stop and requeue of each of the
// several servers.
func (l asynqLog) Info(args ...any) { l.log.Debug(fmt.Sprint(args...), "from", "asynq") }

// Warn logs at debug level, because asynq warns of every task that it archives at the handler's
// request. The handlers have already logged those tasks.
func (l asynqLog) Warn(args ...any) { l.log.Debug(fmt.Sprint(args...), "from", "asynq") }

func (l asynqLog) Error(args ...any) { l.log.Error(fmt.Sprint(args...), "from", "asynq") }

// Fatal logs an error and does not end the process. Only cmd decides that.
func (l asynqLog) Fatal(args ...any) {
	l.log.Error(fmt.Sprint(args...), "from", "asynq", "fatal", true)
}

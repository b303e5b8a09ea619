package worker

import (
	"fmt"
	"log/slog"
)

// asynqLog is slog behind asynq's Logger interface. asynq logs task ids and Redis errors, never payloads.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...), "from", "asynq") }

// Info is debug for us: asynq reports every start, stop and requeue of each of the several servers.
func (l asynqLog) Info(args ...any) { l.log.Debug(fmt.Sprint(args...), "from", "asynq") }

// Warn is debug for us: asynq warns of every task it archives at the handler's own wish, which logTry has told.
func (l asynqLog) Warn(args ...any) { l.log.Debug(fmt.Sprint(args...), "from", "asynq") }

func (l asynqLog) Error(args ...any) { l.log.Error(fmt.Sprint(args...), "from", "asynq") }

// Fatal must not end the process: cmd decides that.
func (l asynqLog) Fatal(args ...any) {
	l.log.Error(fmt.Sprint(args...), "from", "asynq", "fatal", true)
}

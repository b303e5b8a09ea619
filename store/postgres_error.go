package store

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// serverError is what PostgreSQL said. Of its answer it keeps the code and the message; detail and context may quote rows
// and parameters (https://www.postgresql.org/docs/current/protocol-error-fields.html).
type serverError struct{ code, message string }

func (e serverError) Error() string { return fmt.Sprintf("%s (SQLSTATE %s)", e.message, e.code) }

// SQLState is the code, whose values are in https://www.postgresql.org/docs/current/errcodes-appendix.html.
func (e serverError) SQLState() string { return e.code }

// plain cuts out of an error what should not be seen: the rows that an answer of the server quotes, and the DSN that the
// error of a connection holds.
func plain(err error) error {
	if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		err = fmt.Errorf("connecting: %w", connect.Unwrap())
	}
	if said, ok := errors.AsType[*pgconn.PgError](err); ok {
		return serverError{said.Code, said.Message}
	}
	return err
}

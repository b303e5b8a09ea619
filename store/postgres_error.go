package store

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// serverError is an error from PostgreSQL. It keeps only the code and the message, because
// detail and context may quote rows and parameters
// (https://www.postgresql.org/docs/current/protocol-error-fields.html).
type serverError struct{ code, message string }

func (e serverError) Error() string { return fmt.Sprintf("%s (SQLSTATE %s)", e.message, e.code) }

// SQLState returns the code. https://www.postgresql.org/docs/current/errcodes-appendix.html
// lists the values.
func (e serverError) SQLState() string { return e.code }

// plain removes from an error what must not be shown: rows that the server's answer quotes, and
// the DSN in a connection error.
func plain(err error) error {
	if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		err = fmt.Errorf("connecting: %w", connect.Unwrap())
	}
	if said, ok := errors.AsType[*pgconn.PgError](err); ok {
		return serverError{said.Code, said.Message}
	}
	return err
}

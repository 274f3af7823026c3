package store

import (
	"github.com/cockroachdb/pebble/v2"
)

// scanRows calls f with each row, in the order of multihashes, until f returns
// false.
func scanRows(r pebble.Reader, start string, f func(mh string, r *row) bool) error {
	var perr error
	err := scan(r, string(keyRow), start, func(k, v []byte) bool {
		parsed, err := parseRow(v)
		if err != nil {
			perr = err
			return false
		}
		return f(string(k[1:]), parsed)
	})
	if err == nil {
		err = perr
	}
	return err
}

// scanAliases calls f with each alias whose name begins with prefix, in order,
// until f returns false.
func scanAliases(r pebble.Reader, prefix string, f func(*aliasRow) bool) error {
	var perr error
	err := scan(r, aliasKey(prefix), "", func(k, v []byte) bool {
		a, err := parseAlias(string(k[1:]), v)
		if err != nil {
			perr = err
			return false
		}
		return f(a)
	})
	if err == nil {
		err = perr
	}
	return err
}

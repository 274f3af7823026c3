package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/control"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
	"github.com/cairn-ipfs/cairn/internal/unixfs"
	"github.com/cairn-ipfs/cairn/store"
	"golang.org/x/term"
)

// The rules of output, which every command follows:
//
//   - Only results go to stdout, so that they can be piped. With --json they are
//     one JSON value, or one a line if a command lists or streams. Fields are
//     lowerCamelCase, CIDs strings, sizes numbers of bytes.
//   - Everything else goes to stderr: progress (on a terminal only), remarks
//     (not with --quiet), and the failure.
//   - A failure is one line, "cairn: what failed: why". A second one, "hint: …",
//     says what to do about it, if there is something.
//   - The exit status is one of those below. The table explanations gives each
//     kind of error its status and hint.
//   - Names may be hostile: characters that control a terminal are escaped.
//   - Sizes are printed as 64MiB. Colours are used only if stderr is a terminal
//     and NO_COLOR is not set.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4
	exitInterrupted = 130
)

// streams are the program's stdin, stdout and stderr.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// A ui is a command's input and output.
type ui struct {
	in          io.Reader
	out         *bufio.Writer // finish writes the rest of the buffer
	stdout      io.Writer     // what is below out
	err         io.Writer
	outTerminal bool
	errTerminal bool
	colour      bool
	json, quiet bool // flags
}

func newUI(s streams, env func(string) (string, bool)) ui {
	u := ui{
		in: s.in, out: bufio.NewWriterSize(s.out, 64<<10), stdout: s.out, err: s.err,
		outTerminal: isTerminal(s.out), errTerminal: isTerminal(s.err),
	}
	u.colour = useColour(u.errTerminal, env)
	return u
}

// useColour reports whether messages have colours; see https://no-color.org.
func useColour(terminal bool, env func(string) (string, bool)) bool {
	forbidden, _ := env("NO_COLOR")
	return terminal && forbidden == ""
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// show prints one result: with --json the value, else the line, unless its
// format is empty.
func (u *ui) show(value any, format string, args ...any) error {
	var err error
	switch {
	case u.json:
		var text []byte
		if text, err = control.JSON(value); err == nil {
			_, err = u.out.Write(append(text, '\n'))
		}
	case format != "":
		_, err = fmt.Fprintf(u.out, format+"\n", args...)
	}
	if err == nil && u.outTerminal {
		err = u.out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}

// showTable prints rows of a name and a value, without those that have no value.
func (u *ui) showTable(width int, rows [][2]string) error {
	for _, row := range rows {
		if row[1] == "" {
			continue
		}
		if err := u.show(nil, "%-*s %s", width, escape(row[0]), escape(row[1])); err != nil {
			return err
		}
	}
	return nil
}

// remark prints a remark to stderr.
func (u *ui) remark(format string, args ...any) {
	if !u.quiet {
		fmt.Fprintf(u.err, format+"\n", args...)
	}
}

// finish flushes stdout, prints the error if there is one, and returns the exit
// status.
func (u *ui) finish(ctx context.Context, err error) int {
	if ferr := u.out.Flush(); ferr != nil && err == nil {
		err = fmt.Errorf("write to stdout: %w", ferr)
	}
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil {
		// Other errors follow from the interruption.
		err = context.Canceled
	}
	status, hint := explain(err)
	name := "cairn:"
	if u.colour {
		name = "\x1b[31mcairn:\x1b[0m"
	}
	message := err.Error()
	if errors.Is(err, context.Canceled) {
		message = "interrupted"
	}
	fmt.Fprintf(u.err, "%s %s\n", name, escape(message))
	if hint != "" {
		fmt.Fprintf(u.err, "hint: %s\n", escape(hint))
	}
	return status
}

// explain returns the exit status of an error, and a hint if there is one.
func explain(err error) (status int, hint string) {
	for _, e := range explanations {
		if errors.Is(err, e.err) {
			status, hint = e.status, e.hint
			break
		}
	}
	if status == 0 {
		status = exitFailed
	}
	var path *fs.PathError
	if errors.Is(err, fs.ErrNotExist) && !errors.As(err, &path) {
		status = exitNotFound // a path in a DAG, not on disk
	}
	if status == exitNotFound && errors.Is(err, cairn.ErrOffline) {
		hint = "leave out --offline, to ask others"
	}
	var h *hintedError
	if errors.As(err, &h) {
		hint = h.hint
	}
	return status, hint
}

var explanations = []struct {
	err    error
	status int
	hint   string
}{
	{context.Canceled, exitInterrupted, ""},
	{errUsage, exitUsage, ""},
	{errNotKept, exitNotFound, ""},
	{errFoundWrong, exitRefused, "cairn verify --repair puts right what can be"},
	{store.ErrNoAlias, exitNotFound, "cairn alias ls lists those there are"},
	{store.ErrLocked, exitFailed, "wait until it is done, or use another repository with --repo"},
	{store.ErrIndexLost, exitFailed, "cairn rebuild makes a new index from the packs"},
	{store.ErrDiskFull, exitFailed, "make room on the disk, or try cairn gc"},
	{store.ErrLive, exitRefused, "cairn alias why CID tells what keeps it"},
	{store.ErrEvictionHeld, exitRefused, "check with cairn alias ls that no alias is missing, then run cairn gc --confirm"},
	{control.ErrNoDaemon, exitFailed, "cairn serve starts one"},
	{httpapi.ErrForbidden, exitRefused, ""},
	{cairn.ErrNotSent, exitFailed, "it is kept here, and a daemon (cairn serve) sends it when it is online"},
	{cairn.ErrNameNotFound, exitNotFound, "connect to somebody who has it (cairn connect), or ask again later"},
	{cairn.ErrPassphrase, exitRefused, "say it in $CAIRN_KEY_PASSPHRASE, or name its file with --passphrase-file"},
	{cairn.ErrKeyNotFound, exitNotFound, "cairn key ls lists the keys that there are"},
	{cairn.ErrKeyExists, exitFailed, "cairn key ls lists the keys that there are"},
	{cairn.ErrSelfKey, exitFailed, "cairn key ls lists the keys that there are"},
	{cairn.ErrRollback, exitRefused, "a newer record was seen; cairn name inspect NAME tells what it says"},
	{cairn.ErrNameExpired, exitRefused, "only the owner of the name can make a new one"},
	{cairn.ErrNameLoop, exitFailed, "their owners have to put that right"},
	{cairn.ErrNameInvalid, exitRefused, ""},
	{errNoProvider, exitNotFound, ""},
	{cairn.ErrNoRecord, exitNotFound, ""},
	{cairn.ErrNoPeers, exitFailed, "connect to one with cairn connect, or name some in the key swarm.bootstrap"},
	{cairn.ErrNoAnswer, exitFailed, "is this machine on the network? cairn peers lists whom it reaches"},
	{cairn.ErrNoRouting, exitFailed, "the key routing.mode says who is asked: cairn config set routing.mode auto"},
	{cairn.ErrNoSource, exitNotFound, "name somebody who has it with --from, or connect to a peer; cairn find tells who is known to have it"},
	{cairn.ErrOffline, exitFailed, "leave out --offline"},
	{cairn.ErrAddress, exitFailed, "an address ends with the peer's id: /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo…"},
	{block.ErrNotFound, exitNotFound, "this command looks in the repository only"},
	{block.ErrDamaged, exitRefused, "cairn verify tells what else is damaged"},
	{block.ErrHashMismatch, exitRefused, ""},
	{block.ErrHashRefused, exitRefused, ""},
	{unixfs.ErrNotFile, exitFailed, "cairn ls lists a directory, cairn get writes it to disk"},
	{unixfs.ErrNotDirectory, exitFailed, "cairn cat prints a file"},
	{fs.ErrPermission, exitRefused, ""},
}

var (
	errUsage      = errors.New("wrong usage")
	errNotKept    = errors.New("nothing keeps it alive")
	errFoundWrong = errors.New("not everything is as it should be")
)

// A usageError is an error of the arguments or flags.
type usageError struct{ error }

func (e usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error        { return e.error }

func asUsageError(err error) error { return usageError{err} }

// A hintedError is an error with a hint: what to do about it.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

func withHint(err error, hint string) error { return &hintedError{err, hint} }

// escape escapes characters that control a terminal or end a line.
func escape(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return s
	}
	quoted := strconv.QuoteToGraphic(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// quote quotes a name for a message.
func quote(name string) string { return strconv.QuoteToGraphic(name) }

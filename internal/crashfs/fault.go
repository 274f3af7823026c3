package crashfs

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// An Op is a kind of call.
type Op uint8

// The kinds of calls. Other calls (Close, SyncTo, Preallocate, GetDiskUsage, …) are
// not counted, and fail only after a crash.
const (
	OpCreate        Op = iota // Create, Lock
	OpOpen                    // Open
	OpOpenReadWrite           // OpenReadWrite
	OpOpenDir                 // OpenDir
	OpRead                    // Read, ReadAt
	OpWrite                   // Write
	OpWriteAt                 // WriteAt
	OpTruncate                // Truncate
	OpSync                    // Sync of a file
	OpSyncData                // SyncData of a file
	OpSyncDir                 // Sync and SyncData of a directory
	OpRename                  // Rename, ReuseForWrite; under the old name
	OpLink                    // Link; under the new name
	OpRemove                  // Remove, RemoveAll
	OpMkdir                   // MkdirAll
	OpList                    // List
	OpStat                    // Stat of an FS or a File

	opEnd
)

var opNames = [opEnd]string{
	"create", "open", "openrw", "opendir", "read", "write", "writeat", "truncate", "sync",
	"syncdata", "syncdir", "rename", "link", "remove", "mkdir", "list", "stat",
}

// String is the name of the operation, as in errors.
func (op Op) String() string {
	if op < opEnd {
		return opNames[op]
	}
	return fmt.Sprintf("op(%d)", uint8(op))
}

// Mutates reports whether the operation changes the file system, or makes a part of
// it durable.
func (op Op) Mutates() bool {
	switch op {
	case OpOpen, OpOpenDir, OpRead, OpList, OpStat:
		return false
	}
	return true
}

// syncs reports whether the operation makes something durable.
func (op Op) syncs() bool { return op == OpSync || op == OpSyncData || op == OpSyncDir }

// A Count counts calls of one kind.
type Count struct {
	Calls  int   // until the power was cut
	Failed int   // those that returned an error other than io.EOF
	Bytes  int64 // read or written
}

const unlimited = math.MaxInt64

// faults are those that a test has set.
type faults struct {
	rule      func(op Op, path string) error // nil: none
	capacity  int64
	readOnly  bool
	untilStop int // mutating calls until the power is cut; 0: not planned
}

// Fail sets a rule that is called before each call takes effect. If it returns an
// error, the call fails with that, wrapped in an *os.PathError. The path is absolute
// and clean. There is one rule at a time, also of FailAt and FailFrom; nil removes
// it. The rule must not call the FS.
//
// A write that fails by a rule may have written a part, and a sync loses what it was
// to write; any other call has no effect.
func (fs *FS) Fail(rule func(op Op, path string) error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.faults.rule = rule
}

// FailAt makes the nth call from now fail with err, once. It counts calls of the
// given kinds, or all if none is given. It replaces the rule of Fail.
func (fs *FS) FailAt(n int, err error, ops ...Op) {
	fs.failWhen(func(i int) bool { return i == n }, err, ops)
}

// FailFrom is FailAt for the nth call and all that follow.
func (fs *FS) FailFrom(n int, err error, ops ...Op) {
	fs.failWhen(func(i int) bool { return i >= n }, err, ops)
}

func (fs *FS) failWhen(hit func(i int) bool, err error, ops []Op) {
	calls := 0
	fs.Fail(func(op Op, _ string) error {
		if len(ops) > 0 && !slices.Contains(ops, op) {
			return nil
		}
		calls++
		if hit(calls) {
			return err
		}
		return nil
	})
}

// Full sets the capacity in bytes of all files together. A call that would exceed
// it fails with syscall.ENOSPC; a write writes what fits. Names take no space. A
// negative capacity means no limit.
func (fs *FS) Full(capacity int64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if capacity < 0 {
		capacity = unlimited
	}
	fs.faults.capacity = capacity
}

// GetDiskUsage implements vfs.FS. The default capacity is 1 TiB.
func (fs *FS) GetDiskUsage(string) (usage vfs.DiskUsage, err error) {
	err = fs.locked(func() error {
		if fs.Crashed() {
			return ErrCrashed
		}
		total := fs.faults.capacity
		if total == unlimited {
			total = 1 << 40
		}
		usage = vfs.DiskUsage{
			TotalBytes: uint64(total),
			UsedBytes:  uint64(fs.used),
			AvailBytes: uint64(max(0, total-fs.used)),
		}
		return nil
	})
	return usage, err
}

// ReadOnly makes every change fail with syscall.EROFS, until it is turned off.
// Syncs succeed.
func (fs *FS) ReadOnly(on bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.faults.readOnly = on
}

// Corrupt flips the bits of mask in one byte of a file, for readers and on the
// medium.
func (fs *FS) Corrupt(name string, offset int64, mask byte) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.find(name)
	if err == nil && (n.isDir() || offset < 0 || offset >= int64(len(n.data))) {
		err = fmt.Errorf("no byte %d", offset)
	}
	if err != nil {
		return &os.PathError{Op: "corrupt", Path: name, Err: err}
	}
	n.data[offset] ^= mask
	if offset < int64(len(n.disk)) {
		n.disk[offset] ^= mask
	}
	return nil
}

// Count returns the counts of the calls of one kind so far.
func (fs *FS) Count(op Op) Count {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.counts[op]
}

// Mutations is the number of mutating calls so far, as CrashAfter counts them.
func (fs *FS) Mutations() int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := 0
	for op := range opEnd {
		if op.Mutates() {
			n += fs.counts[op].Calls
		}
	}
	return n
}

// call counts a call, and makes it unless it is to fail.
func (fs *FS) call(op Op, name string, do func() error) error {
	return fs.locked(func() error {
		part, err := fs.admit(op, name)
		switch {
		case err == nil:
			err = do()
		case part && fs.Crashed() && fs.rng.IntN(2) == 0:
			// The power was cut during the call, which may have taken effect.
			_ = do()
		}
		if err != nil {
			return fs.failed(op, name, err)
		}
		return nil
	})
}

// locked runs do with mu held. All calls go through it: it makes them hang after
// Hang.
func (fs *FS) locked(do func() error) error {
	fs.mu.Lock()
	err := do()
	fs.mu.Unlock()
	if fs.hangs.Load() && errors.Is(err, ErrCrashed) {
		select {}
	}
	return err
}

// admit counts a call and returns the error with which it is to fail, or nil. With
// an error, part means that the call may take effect in part. Callers hold mu.
func (fs *FS) admit(op Op, name string) (part bool, err error) {
	if fs.Crashed() {
		return false, ErrCrashed
	}
	fs.counts[op].Calls++
	if op.Mutates() && fs.faults.untilStop > 0 {
		if fs.faults.untilStop--; fs.faults.untilStop == 0 {
			close(fs.dead)
			return true, ErrCrashed
		}
	}
	if fs.faults.rule != nil {
		if err := fs.faults.rule(op, clean(name)); err != nil {
			return true, err
		}
	}
	if fs.faults.readOnly && op.Mutates() && !op.syncs() {
		return false, syscall.EROFS
	}
	return false, nil
}

// failed counts a failure and wraps its error. Callers hold mu.
func (fs *FS) failed(op Op, name string, err error) error {
	fs.counts[op].Failed++
	return &os.PathError{Op: op.String(), Path: name, Err: err}
}

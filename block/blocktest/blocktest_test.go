package blocktest_test

import (
	"testing"

	"github.com/cairn-ipfs/cairn/block/blocktest"
)

func TestMem(t *testing.T) {
	blocktest.Run(t, func(*testing.T) blocktest.Store { return new(blocktest.Mem) })
}

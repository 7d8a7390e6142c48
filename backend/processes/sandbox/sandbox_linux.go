package sandbox

import (
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// configs are what the versions of Landlock can enforce. One is asked for exactly, never at best effort, so that what
// missing says holds: the library refuses if it sees another version than landlockVersion.
var configs = []landlock.Config{
	{}, landlock.V1, landlock.V2, landlock.V3, landlock.V4, landlock.V5, landlock.V6, landlock.V7, landlock.V8,
	landlock.V9, landlock.V10, landlock.V11,
}

// landlockVersion returns the version that the kernel offers and this package knows; 0 is none.
func landlockVersion() int {
	v, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	if fixed, err := ll.LandlockGetErrata(); v >= 6 && (err != nil || fixed&2 == 0) {
		v = 5 // would deny signals between threads of one process, which the runtime preempts goroutines with
	}
	return min(v, len(configs)-1)
}

// signalsFrom is the Landlock version that keeps signals from other processes. Before version 8 each thread gets a
// domain of its own, and may not signal a child that another one started.
func (r Rules) signalsFrom() int {
	if r.Exec {
		return 8
	}
	return 6
}

func (r Rules) missing() []string {
	var missing []string
	version := landlockVersion()
	for _, part := range []struct {
		from int
		what string
	}{
		{1, "files (needs Landlock: Linux 5.13, and not turned off)"},
		{3, "truncating files (needs Landlock 3: Linux 6.2)"},
		{5, "device files' ioctls (needs Landlock 5: Linux 6.10)"},
		{r.signalsFrom(), fmt.Sprintf("signals to other processes (needs Landlock %d: Linux %s)", r.signalsFrom(),
			map[int]string{6: "6.12", 8: "7.0"}[r.signalsFrom()])},
	} {
		if version < part.from {
			missing = append(missing, part.what)
		}
	}
	if !seccompWorks() {
		const needs = " (needs seccomp: Linux 4.14 on amd64 or arm64)"
		missing = append(missing, "ptrace and the like"+needs)
		if !r.Network {
			missing = append(missing, "no network"+needs)
		}
		if !r.Exec {
			missing = append(missing, "no programs"+needs)
		}
		if len(r.Write) == 0 {
			missing = append(missing, "files' modes, owners and times"+needs)
		}
	}
	return missing
}

func (r Rules) enforce() error {
	if version := landlockVersion(); version > 0 {
		if err := r.landlock(version); err != nil {
			return fmt.Errorf("sandbox: landlock: %w", err)
		}
	}
	if seccompWorks() { // last: what comes before needs system calls
		if err := r.seccomp(); err != nil {
			return fmt.Errorf("sandbox: seccomp: %w", err)
		}
	}
	return nil
}

const (
	readRights = ll.AccessFSReadFile | ll.AccessFSReadDir
	// neverRights are no part of Write: running programs is Exec's, and making device files would be a way to the disk.
	neverRights = ll.AccessFSExecute | ll.AccessFSMakeChar | ll.AccessFSMakeBlock | ll.AccessFSResolveUnix
	// fileRights are those that make sense for what is not a directory.
	fileRights = ll.AccessFSExecute | ll.AccessFSWriteFile | ll.AccessFSReadFile | ll.AccessFSTruncate | ll.AccessFSIoctlDev
)

// needs are what ordinary programs read, where it exists.
var (
	needs = []string{
		"/proc/self", "/sys/devices/system/cpu", "/dev/urandom",
		"/etc/localtime", "/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo",
	}
	networkNeeds = []string{
		"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted",
	}
)

func (r Rules) landlock(version int) error {
	config := configs[version]
	if r.Network {
		config.HandledAccessNet = 0
		config.HandledAccessFS &^= ll.AccessFSResolveUnix
		config.Scoped &^= ll.ScopeAbstractUnixSocket
	}
	if version < r.signalsFrom() {
		config.Scoped &^= ll.ScopeSignal
	}

	read := landlock.AccessFSSet(readRights)
	write := config.HandledAccessFS &^ neverRights
	if r.Exec {
		read |= ll.AccessFSExecute
		write |= ll.AccessFSExecute
	}
	var rules []landlock.Rule
	allow := func(path string, rights landlock.AccessFSSet) {
		if st, err := os.Stat(path); err == nil && !st.IsDir() {
			rights &= fileRights
		}
		rules = append(rules, landlock.PathAccess(rights, path))
	}
	for _, path := range r.Read {
		allow(path, read)
	}
	for _, path := range r.Write {
		allow(path, write)
	}
	optional := func(path string, rights landlock.AccessFSSet) {
		if _, err := os.Stat(path); err == nil {
			allow(path, rights)
		}
	}
	for _, path := range needs {
		optional(path, readRights)
	}
	if r.Network {
		for _, path := range networkNeeds {
			optional(path, readRights)
		}
	}
	optional("/dev/null", readRights|ll.AccessFSWriteFile)

	// A rule is for an inode, and /proc makes a new one for a process when the kernel, short of memory, has dropped the
	// old one's name. A descriptor that stays open keeps the name, and so the rule.
	if _, err := unix.Open("/proc/self", unix.O_PATH|unix.O_CLOEXEC, 0); err != nil && err != unix.ENOENT {
		return fmt.Errorf("/proc/self: %w", err)
	}
	return config.Restrict(rules...)
}

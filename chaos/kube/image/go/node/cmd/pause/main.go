// Command pause keeps a pod's namespaces alive: it does nothing until it is told
// to end. As process 1 of a pod with one process namespace it also buries the
// orphans of the other containers.
package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	told := make(chan os.Signal, 16)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for received := range told {
		if received != syscall.SIGCHLD {
			return
		}
		bury()
	}
}

func bury() {
	for {
		dead, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if dead <= 0 && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

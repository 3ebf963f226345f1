// Package tunlink is a network cable in user space, for machines whose kernel has no netem: what goes into one device comes out of
// the other late, at the cable's rate, and sometimes not at all. With TUN devices in two network namespaces ([Open]), real TCP
// meets real delay and real loss.
//
// One direction of a cable is a [Pipe], which is pure: a packet and the time go in, packets and the time of the next one come out.
// A [Link] runs two of them between two devices.
package tunlink

"""Recorded provider traffic, served over a loopback socket to the real client libraries.

cases      what was recorded                      (`Case`, `cases()`)
answers    what the server says                   (`Answer`; a case, a mutated case, a 429)
server     the server, of the conformance kit     (`ReplayServer`, `Exchange`)
modes      sync and async clients, of the kit     (`SYNC`, `AsyncMode`)
clients    real clients pointed at the server     (`Clients`)
ways       every way an app can make a call       (`Way`, `ways_of`)
seen       what the app saw, of the kit           (`Seen`)
bills      what a call must cost in tokens        (`Bill`, `bill_of`)
brakes     calls that a budget is to stop         (`Brakes`)
arrivals   what has come at each event            (`Arrival`, `arrivals`)
stops      what has to hold where one is stopped  (`check_stops`)
native     clients with protocols of their own    (`Native`, `native_bill`)
"""
